package runner

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
)

func TestFindAgents(t *testing.T) {
	if found, err := FindAgents("envoy-scraper-1.0,vmagent"); err != nil || len(found) != 2 ||
		found[0].Name != "envoy-scraper-1.0" || !found[1].Peer {
		t.Errorf("agents = %v, %v", found, err)
	}
	if _, err := FindAgents("nobody"); err == nil || !strings.Contains(err.Error(), "envoy-scraper-2.0") {
		t.Errorf("error = %v, want one that lists the agents", err)
	}
}

// TestAgentsAreToldTheSame: each in the files and flags that it reads.
func TestAgentsAreToldTheSame(t *testing.T) {
	for _, a := range Agents() {
		t.Run(a.Name, func(t *testing.T) {
			s := Setup{
				Dir: t.TempDir(), TargetsFile: "/x/targets.json", MetricsPath: fleet.Path,
				WriteURL: "http://127.0.0.1:1/w",
				Interval: 10 * time.Second, Web: "127.0.0.1:2",
			}
			command, err := a.Prepare(s)
			if err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(s.Dir, "*.yml"))
			if err != nil || len(files) != 1 || !slices.ContainsFunc(command.Args,
				func(a string) bool { return strings.HasSuffix(a, "="+files[0]) }) {
				t.Fatalf("files = %v, %v, arguments = %q; want one file that is named", files, err, command.Args)
			}
			text, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			all := string(text) + strings.Join(command.Args, "\n")
			for _, want := range []string{
				"scrape_interval: 10000ms", "scrape_timeout: 10000ms", "metrics_path: " + fleet.Path,
				`files: ["/x/targets.json"]`, s.WriteURL, s.Web,
			} {
				if !strings.Contains(all, want) {
					t.Errorf("%q is missing in\n%s", want, all)
				}
			}
			for protocol, message := range map[string]string{"-1.0": message1, "-2.0": message2} {
				if strings.HasSuffix(a.Name, protocol) != strings.Contains(all, "protobuf_message: "+message) {
					t.Errorf("%s, but the configuration is\n%s", protocol, text)
				}
			}
			if a.Tuned != (len(command.Env) > 0) {
				t.Errorf("tuned = %v, environment %q", a.Tuned, command.Env)
			}
		})
	}
}

func TestNoTargetsIsAnEmptyStaticList(t *testing.T) {
	if text := (Setup{Interval: time.Second}).scrapeConfig(); !strings.Contains(text, "- targets: []") ||
		strings.Contains(text, "file_sd") {
		t.Errorf("configuration without targets:\n%s", text)
	}
}

func TestAgentsAreNotTunedFromOutside(t *testing.T) {
	t.Setenv("GOGC", "400")
	t.Setenv("GOMEMLIMIT", "1GiB")
	t.Setenv("BENCH_TEST", "kept")
	got := plainEnviron()
	for _, v := range got {
		if strings.HasPrefix(v, "GOGC=") || strings.HasPrefix(v, "GOMEMLIMIT=") {
			t.Errorf("agents would get %s", v)
		}
	}
	if !slices.Contains(got, "BENCH_TEST=kept") {
		t.Error("the rest of the environment is missing")
	}
}
