package runner

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
)

// TestSidecar is a whole run, with real processes and a few seconds of real time. Its Envoy is a small server.
func TestSidecar(t *testing.T) {
	t.Parallel()
	whole := posterWhole(t)
	agent := whole.Ways[1].Agent
	c := SidecarConfig{
		Config: whole.Config, Envoy: whole.Self, Shape: EnvoyShape{Clusters: 2, VirtualClusters: 1},
		Keep: "envoy_vhost_.*", Filters: []string{"vhost", "^cluster"}, Pages: 3,
		Rest: posterInterval / 10, Rested: 2, Targets: 2, Store: whole.Store,
		Ways: []SidecarWay{{Name: Direct}, {Name: "envoy-scraper-off", Agent: agent, PushDown: "off"}},
	}
	c.Window = 8 * posterInterval
	r, err := Sidecar(t.Context(), c, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{3, 1, 2} { // lines of whole and filtered pages
		if p := r.Pages[i]; p.Lines != want || len(p.CPU) != c.Pages {
			t.Errorf("pages with filter %q: %d lines, %d of them, want %d lines, %d", p.Filter, p.Lines, len(p.CPU),
				want, c.Pages)
		}
	}
	if len(r.Rested) != 3 || len(r.Rested[2].CPU) != c.Rested {
		t.Errorf("rested pages = %+v", r.Rested)
	}
	for _, row := range r.Ways {
		w := row.Windows[0]
		hasAgent := row.Name != Direct
		if w.Scrapes < 2 || w.Stored < 6 || w.Sidecar == 0 || w.Receiver == 0 || (w.Agent > 0) != hasAgent ||
			(w.Sent > 0) != hasAgent || w.Page != w.Scrapes*testEnvoyBytes+testEnvoyBytes {
			t.Errorf("%s: %+v", row.Name, w)
		}
	}
	text := written(t, r)
	if !strings.Contains(text, "| prometheus-direct | ") || !strings.Contains(text, "ratio 1.000") {
		t.Errorf("the report lacks a way or a page:\n%s", text)
	}
}

// testEnvoyBytes is what testEnvoy says that each page has.
const testEnvoyBytes = 100

// testEnvoy answers as Envoy's admin listener does that has this configuration.
func testEnvoy(ctx context.Context, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	address := regexp.MustCompile(`admin: .*address: (\S+), port_value: (\d+)`).FindSubmatch(text)
	if address == nil {
		return fmt.Errorf("no admin address in %s", text)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(string(address[1]), string(address[2])))
	if err != nil {
		return err
	}
	var pages atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/stats", func(w http.ResponseWriter, _ *http.Request) {
		n := pages.Add(1)
		fmt.Fprintf(w, "%s: %d\n%s: %d\nhttp.admin.rq_time: P0(1,1)\n", adminPages, n, adminBytes, n*testEnvoyBytes)
	})
	mux.HandleFunc(fleet.Path, func(w http.ResponseWriter, r *http.Request) {
		re := regexp.MustCompile(r.URL.Query().Get("filter"))
		for raw, name := range map[string]string{"cluster.a.version": "a", "cluster.b.version": "b", "vhost.a": "v"} {
			if re.MatchString(raw) {
				_, _ = fmt.Fprintf(w, "# TYPE %s counter\n%[1]s{a=\"b\"} %d\n", name, pages.Load())
			}
		}
		pages.Add(1)
	})
	return serve(ctx, l, mux)
}

func TestPlainStats(t *testing.T) {
	stats := plainStats(adminPages + ": 7\n" + adminBytes + ": 1024\nhttp.admin.name: \"text\"\n")
	if len(stats) != 2 || stats[adminPages] != 7 || stats[adminBytes] != 1024 {
		t.Errorf("stats = %v", stats)
	}
}

// TestJobOfBothKinds asserts what the agents' files have for a job with rules, and without.
func TestJobOfBothKinds(t *testing.T) {
	for _, tt := range []struct {
		job  Job
		want []string
		not  []string
	}{
		{Job{}, nil, []string{"metric_relabel_configs", "push_down"}},
		{Job{Keep: "istio_.*", PushDown: "off"}, []string{`regex: "istio_.*", action: keep`, "push_down: off"}, nil},
	} {
		s := Setup{Dir: t.TempDir(), Job: tt.job, WriteURL: "http://127.0.0.1:9"}
		if _, err := envoyScraper(message2)(s); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(s.Dir + "/envoy-scraper.yml")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range tt.want {
			if !strings.Contains(string(text), want) {
				t.Errorf("the file lacks %s:\n%s", want, text)
			}
		}
		for _, not := range tt.not {
			if strings.Contains(string(text), not) {
				t.Errorf("the file has %s:\n%s", not, text)
			}
		}
	}
}

func TestKeptOfAJob(t *testing.T) {
	c := Case{Fleet: fleet.DefaultConfig()}
	c.Fleet.Targets, c.Fleet.Series = 20, 200
	if series, bytes, err := c.kept(); series != 200 || bytes != 1 || err != nil {
		t.Errorf("without rules: %v, %v, %v", series, bytes, err)
	}
	c.Job.Keep = "istio_.*"
	if series, bytes, err := c.kept(); series != 100 || bytes < 0.5 || err != nil {
		t.Errorf("with rules: %v, %v, %v", series, bytes, err)
	}
}
