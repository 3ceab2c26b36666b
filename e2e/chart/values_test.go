package chart

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// TestBadValues checks that helm template refuses values that cannot work, with the message in the first line of the
// values file.
func TestBadValues(t *testing.T) {
	tl := newTools(t, false)
	for name, file := range valuesFiles(t, "bad") {
		t.Run(name, func(t *testing.T) {
			values, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(values), "\n")
			want := strings.TrimPrefix(first, "# ")
			out, code := tl.template(t, "x", "x", "-f", file)
			if code == 0 || !strings.Contains(out, want) {
				t.Errorf("exit code %d, want an error with %q:\n%s", code, want, out)
			}
		})
	}
}

// TestGoodValues checks that the program accepts the rendered configuration without a warning and has all flags that
// the pods use.
func TestGoodValues(t *testing.T) {
	tl := newTools(t, false)
	help, _ := parts.Output(t, nil, tl.scraper, "run", "--help")
	for name, file := range valuesFiles(t, "good") {
		t.Run(name, func(t *testing.T) {
			r := tl.render(t, name, name, "-f", file)
			pod, kind := r.pod(t)
			checkFlags(t, help, pod.Spec.Containers[0].Args)
			checkFlush(t, pod)
			checkSubPaths(t, pod)
			args := []string{"check", "--lint-fatal", r.writeConfig(t)}
			if kind == "StatefulSet" {
				args = append(args, "--shard.index=ordinal")
			}
			out, code := parts.Output(t, r.env(t, "node-a", name+"-1"), tl.scraper, args...)
			if code != 0 {
				t.Errorf("check: exit code %d:\n%s", code, out)
			}
		})
	}
}

// checkFlags fails the test if the pods use a flag that the program does not have.
func checkFlags(t *testing.T, help string, args []string) {
	t.Helper()
	for _, arg := range args {
		flag, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if !regexp.MustCompile(`--(\[no-\])?` + regexp.QuoteMeta(flag) + `\b`).MatchString(help) {
			t.Errorf("the pods use the flag %s, which run --help does not list", arg)
		}
	}
}

// checkSubPaths checks that every variable in a subPathExpr is in the container's environment. Otherwise the kubelet
// never starts the container.
func checkSubPaths(t *testing.T, pod corev1.PodTemplateSpec) {
	t.Helper()
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, mount := range c.VolumeMounts {
			name := strings.TrimSuffix(strings.TrimPrefix(mount.SubPathExpr, "$("), ")")
			if name != "" && !slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == name }) {
				t.Errorf("container %s mounts %s, but that variable is not in its environment", c.Name,
					mount.SubPathExpr)
			}
		}
	}
}

// checkFlush checks the flush deadline of a pod whose queue ends with it: the grace period minus 5 s.
func checkFlush(t *testing.T, pod corev1.PodTemplateSpec) {
	t.Helper()
	flush := ""
	for _, arg := range pod.Spec.Containers[0].Args {
		if value, ok := strings.CutPrefix(arg, "--storage.remote.flush-deadline="); ok {
			flush = value
		}
	}
	want := ""
	for _, v := range pod.Spec.Volumes {
		if v.Name == "data" && v.EmptyDir != nil {
			want = strconv.FormatInt(*pod.Spec.TerminationGracePeriodSeconds-5, 10) + "s"
		}
	}
	if flush != want {
		t.Errorf("flush deadline %q, want %q", flush, want)
	}
}
