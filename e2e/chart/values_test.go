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

// wanted returns the text that the first line of a file of values expects in the refusal.
func wanted(t *testing.T, file string) string {
	t.Helper()
	values, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(values), "\n")
	return strings.TrimPrefix(first, "# ")
}

// TestBadValues: Helm refuses values that the schema or the chart can judge.
func TestBadValues(t *testing.T) {
	tl := newTools(t, false)
	for name, file := range valuesFiles(t, "bad") {
		t.Run(name, func(t *testing.T) {
			want := wanted(t, file)
			out, code := tl.template(t, "x", "x", "-f", file)
			if code == 0 || !strings.Contains(out, want) {
				t.Errorf("exit code %d, want a failure that says %q:\n%s", code, want, out)
			}
		})
	}
}

// TestRefusedValues: the program, started as in a pod, refuses the configurations that Helm renders but that are wrong.
func TestRefusedValues(t *testing.T) {
	tl := newTools(t, false)
	for name, file := range valuesFiles(t, "refused") {
		t.Run(name, func(t *testing.T) {
			want := wanted(t, file)
			r := tl.render(t, "x", "x", "-f", file)
			pod, _ := r.pod(t)
			config, dir := r.writeConfig(t), t.TempDir()
			var args []string
			for _, arg := range pod.Spec.Containers[0].Args {
				arg = strings.Replace(arg, "=/etc/envoy-scraper/envoy-scraper.yml", "="+config, 1)
				arg = strings.Replace(arg, "=/var/lib/envoy-scraper", "="+dir, 1)
				args = append(args, strings.Replace(arg, "=:9095", "=127.0.0.1:0", 1))
			}
			out, code := parts.Output(t, r.env(t, "node-a", "x-1"), tl.scraper, args...)
			if code == 0 || !strings.Contains(out, want) {
				t.Errorf("exit code %d, want a failure that says %q:\n%s", code, want, out)
			}
		})
	}
}

// TestGoodValues: the program accepts the configuration that a pod would have, without a warning, and knows its flags.
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

// checkFlags fails for a flag that the program does not have.
func checkFlags(t *testing.T, help string, args []string) {
	t.Helper()
	for _, arg := range args {
		flag, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if !regexp.MustCompile(`--(\[no-\])?` + regexp.QuoteMeta(flag) + `\b`).MatchString(help) {
			t.Errorf("the pods are started with %s, which run --help does not know", arg)
		}
	}
}

// checkSubPaths: a container whose folder depends on a variable has that variable, or the kubelet never starts it.
func checkSubPaths(t *testing.T, pod corev1.PodTemplateSpec) {
	t.Helper()
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, mount := range c.VolumeMounts {
			name := strings.TrimSuffix(strings.TrimPrefix(mount.SubPathExpr, "$("), ")")
			if name != "" && !slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == name }) {
				t.Errorf("container %s mounts %s, but has no such variable", c.Name, mount.SubPathExpr)
			}
		}
	}
}

// checkFlush: a queue that dies with its pod has all of the grace period but 5 s to be delivered.
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
