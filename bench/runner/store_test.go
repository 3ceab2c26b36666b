package runner

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/receiver"
)

// posterWhole measures the poster with a store that the test binary plays, and that store alone.
func posterWhole(t *testing.T) WholeConfig {
	t.Helper()
	c := posterConfig(t, fleet.Page{})
	agent := c.Cases[0].Agent
	agent.SentBytes, agent.Pending = readMetric, queuedMetric
	return WholeConfig{
		Config: c, Fleet: c.Cases[0].Fleet,
		Ways: []Way{{Name: Direct}, {Name: "poster-n2", Agent: &agent, Scrapes: 2}},
		Store: Agent{Name: "store", Program: agent.Program, Prepare: func(s Setup) (Command, error) {
			return Command{Args: []string{"store", s.Web, s.TargetsFile, s.Dir}}, nil
		}},
	}
}

// testStore is the smallest store: it counts the samples that it is sent, or those that it scrapes. Its arguments are
// its address, the targets' file and its folder, where it keeps the count when it ends.
func testStore(ctx context.Context, args []string) error {
	web, targetsFile, dir := args[0], args[1], args[2]
	kept := filepath.Join(dir, "count")
	var before uint64
	if text, err := os.ReadFile(kept); err == nil {
		if before, err = strconv.ParseUint(string(text), 10, 64); err != nil {
			return err
		}
	}
	var scraped atomic.Uint64
	if targetsFile != "" {
		go func() { _ = testScrape(ctx, targetsFile, &scraped) }() // the test then lacks samples
	}
	r := receiver.New(receiver.Config{Accept: receiver.AcceptBoth, Checks: true})
	count := func() uint64 { return r.Stats().Page() + scraped.Load() }
	mux := http.NewServeMux()
	mux.Handle("POST "+receiver.WritePath, r.Handler())
	mux.HandleFunc("/-/ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "# TYPE %s counter\n%s{type=\"float\"} %d\n", storedMetric, storedMetric, count())
		fmt.Fprintf(w, "# TYPE %s gauge\n%s 1000\n", seriesMetric, seriesMetric)
	})
	mux.HandleFunc("/api/v1/label/__name__/values", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"data":["istio_requests_total","scrape_samples_scraped","up"]}`)
	})
	mux.HandleFunc("/api/v1/query", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"data":{"result":[{"value":[1.5,"%d"]}]}}`, before+count())
	})
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	l, err := net.Listen("tcp", web)
	if err != nil {
		return err
	}
	if err := serve(ctx, l, mux); err != nil {
		return err
	}
	return os.WriteFile(kept, strconv.AppendUint(nil, before+count(), 10), 0o644)
}

func testScrape(ctx context.Context, targetsFile string, scraped *atomic.Uint64) error {
	for tick := time.NewTicker(posterInterval); ; {
		targets, err := posterTargets(targetsFile)
		if err != nil {
			return err
		}
		for _, target := range targets {
			_, n, err := requestOf(ctx, target)
			if err != nil {
				return err
			}
			scraped.Add(uint64(n))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func TestParseCount(t *testing.T) {
	for body, want := range map[string]uint64{
		`{"status":"success","data":{"result":[{"metric":{},"value":[1764417600.1,"24000000"]}]}}`: 24_000_000,
		`{"status":"success","data":{"result":[]}}`:                                                0,
	} {
		if got, err := parseCount([]byte(body)); err != nil || got != want {
			t.Errorf("count = %d, %v; want %d", got, err, want)
		}
	}
	for _, body := range []string{"<html>", `{"data":{"result":[{"value":[1,"many"]}]}}`} {
		if _, err := parseCount([]byte(body)); err == nil {
			t.Errorf("no error for %s", body)
		}
	}
}

// TestPrometheusStore: the Prometheus that scrapes by itself has the scrape configuration of the agents.
func TestPrometheusStore(t *testing.T) {
	s := Setup{Dir: t.TempDir(), MetricsPath: fleet.Path, Interval: 10 * time.Second, Web: "127.0.0.1:2"}
	for _, targets := range []string{"", "/x/targets.json"} {
		s.TargetsFile = targets
		command, err := PrometheusStore().Prepare(s)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(s.Dir, "prometheus.yml"))
		if err != nil || string(text) != s.scrapeConfig() {
			t.Errorf("configuration %q, %v; want %q", text, err, s.scrapeConfig())
		}
		if want := "--storage.tsdb.path=" + filepath.Join(s.Dir, "data"); command.Args[1] != want {
			t.Errorf("arguments %q, want %q in them", command.Args, want)
		}
	}
}
