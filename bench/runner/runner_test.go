package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/receiver"
)

// TestMain lets the test binary play all parts of a run, the agent's too.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch os.Args[1] {
	case "fleet":
		err = FleetMain(ctx, os.Args[2:], os.Stdin, os.Stdout)
	case "receiver":
		err = ReceiverMain(ctx, os.Args[2:], os.Stdin, os.Stdout)
	case "poster":
		err = poster(ctx, os.Args[2], os.Args[3])
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// poster is the smallest agent: every second each page once, posted at once.
func poster(ctx context.Context, targetsFile, url string) error {
	text, err := os.ReadFile(targetsFile)
	if err != nil {
		return err
	}
	var groups []struct{ Targets []string }
	if err := json.Unmarshal(text, &groups); err != nil {
		return err
	}
	for tick := time.NewTicker(time.Second); ; {
		for _, g := range groups {
			if err := forward(ctx, g.Targets[0], url); err != nil && ctx.Err() == nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func forward(ctx context.Context, target, url string) error {
	page, err := exchange(ctx, http.MethodGet, "http://"+target+fleet.Path, nil)
	if err != nil {
		return err
	}
	p := textparse.NewPromParser(page, labels.NewSymbolTable(), false)
	st, now := writev2.NewSymbolTable(), time.Now().UnixMilli()
	req := &writev2.Request{}
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var l labels.Labels
		p.Labels(&l)
		_, _, v := p.Series()
		l = labels.NewBuilder(l).Set("instance", target).Labels()
		req.Timeseries = append(req.Timeseries, writev2.TimeSeries{
			LabelsRefs: st.SymbolizeLabels(l, nil), Samples: []writev2.Sample{{Timestamp: now, Value: v}},
		})
	}
	req.Symbols = st.Symbols()
	raw, err := req.Marshal()
	if err != nil {
		return err
	}
	_, err = exchange(ctx, http.MethodPost, url, snappy.Encode(nil, raw))
	return err
}

func exchange(ctx context.Context, method, url string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
	req.Header.Set("Content-Encoding", "snappy")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(resp.Body)
	return answer, errors.Join(err, resp.Body.Close())
}

// TestRunMeasuresAnAgent is a whole run, with real processes and a few seconds of real time.
func TestRunMeasuresAnAgent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		Self: self, Programs: filepath.Dir(self), Out: t.TempDir(),
		Interval: time.Second, Warmup: time.Second, Window: 2 * time.Second, Windows: 2, Checks: true,
	}
	c.Cases = Cases([]Agent{{
		Name: "poster", Program: filepath.Base(self), Accept: receiver.AcceptBoth,
		Prepare: func(s Setup) (Command, error) {
			return Command{Args: []string{"poster", s.TargetsFile, s.WriteURL}}, nil
		},
	}}, fleet.Config{Targets: 4, Series: 200, Replicas: 2, Moving: 0.2, Base: freeBase(t), Page: fleet.Page{Shuffle: true, Gzip: true}})
	report, err := Run(t.Context(), c, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	row := report.Rows[0]
	if row.Lost != 0 || row.Received.ViolationsTotal != 0 || row.FailedScrapes != 0 {
		t.Errorf("lost %d, violations %d %v, failed %d; want none",
			row.Lost, row.Received.ViolationsTotal, row.Received.Problems, row.FailedScrapes)
	}
	if len(row.Windows) != 2 || row.Served.Samples == 0 || row.Windows[0].RSSMedian == 0 || row.FirstRequest <= 0 {
		t.Errorf("row = %+v, want two windows with figures", row)
	}
	var text, markdown, kept bytes.Buffer
	if err := errors.Join(report.WriteText(&text), report.WriteMarkdown(&markdown), report.WriteJSON(&kept)); err != nil {
		t.Fatal(err)
	}
	var again Report
	if err := json.Unmarshal(kept.Bytes(), &again); err != nil || again.Rows[0].Served.Samples != row.Served.Samples {
		t.Errorf("the JSON report does not hold what was measured (%v)", err)
	}
	if !strings.Contains(text.String(), "CPU-s/M samples") || !strings.Contains(markdown.String(), "| poster |") {
		t.Errorf("reports lack their rows:\n%s\n%s", text.String(), markdown.String())
	}
	t.Log("\n" + text.String())
}

func TestComplete(t *testing.T) {
	good := Row{Agent: "a", Windows: []Window{{Seconds: 60, DeliveredPerDue: 0.998}, {Seconds: 60, DeliveredPerDue: 1.002}}}
	if err := (Report{Rows: []Row{good}}).Complete(); err != nil {
		t.Error(err)
	}
	cold := good // two pages came too late while everything was new
	cold.WarmupFailed, cold.Served.Series, cold.Lost = 2, 100, 200
	if err := (Report{Rows: []Row{cold}}).Complete(); err != nil {
		t.Error(err)
	}
	late, lossy := good, good
	late.Windows = []Window{{Seconds: 60, DeliveredPerDue: 0.9}}
	lossy.Lost = 1
	for _, bad := range []Row{late, lossy} {
		if err := (Report{Rows: []Row{good, bad}}).Complete(); err == nil {
			t.Errorf("no error for %+v", bad)
		}
	}
}

func freeBase(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.1.9.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := l.Addr().(*net.TCPAddr).AddrPort()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return base
}

func TestAgentThatEndsIsAnError(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		Self: self, Programs: filepath.Dir(self), Out: t.TempDir(),
		Interval: time.Second, Warmup: 10 * time.Second, Window: time.Second, Windows: 1, Checks: true,
	}
	c.Cases = Cases([]Agent{{
		Name: "broken", Program: filepath.Base(self), Accept: receiver.AcceptBoth,
		Prepare: func(Setup) (Command, error) { return Command{Args: []string{"poster", "no-such-file", ""}}, nil },
	}}, fleet.Config{Targets: 1, Series: 10, Replicas: 1, Base: freeBase(t)})
	_, err = Run(t.Context(), c, t.Output())
	if err == nil || !strings.Contains(err.Error(), "no-such-file") {
		t.Errorf("error = %v, want the end of the agent's log", err)
	}
}

func TestParseProc(t *testing.T) {
	status := "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nRssAnon:\t     768 kB\nRssFile:\t     256 kB\nThreads:\t9\n"
	want := usage{Resident: 1 << 20, Peak: 2 << 20, Anonymous: 768 << 10, FileBacked: 256 << 10, Threads: 9}
	if got, err := parseStatus([]byte(status)); err != nil || got != want {
		t.Errorf("usage = %+v, %v; want %+v", got, err, want)
	}
	if _, err := parseStatus([]byte("Name:\tx\nThreads:\t1\n")); err == nil {
		t.Error("no error for a process without memory")
	}
	busy, stolen, err := parseSystemCPU([]byte("cpu  100 200 300 999 999 10 20 40 0 0\ncpu0 1\n"))
	if err != nil || busy != 6300*time.Millisecond || stolen != 400*time.Millisecond {
		t.Errorf("system CPU = %v, %v, %v; want 6.3s busy, 400ms stolen", busy, stolen, err)
	}
}

func TestBetween(t *testing.T) {
	b := &bed{config: Config{Interval: 10 * time.Second, Checks: true}, fleetConfig: fleet.Config{Targets: 10, Series: 100}}
	begin := snapshot{at: time.Unix(100, 0)}
	end := snapshot{at: time.Unix(110, 0), agentCPU: 2 * time.Second, fleetCPU: time.Second, receiverCPU: time.Second, busy: 9 * time.Second}
	end.served = fleet.Stats{Scrapes: 10, Samples: 1000}
	end.received.Samples, end.received.Synthetic, end.received.WireBytes = 1050, 50, 10_500
	w := b.between(begin, end, []usage{{Resident: 1, Anonymous: 1, Threads: 5}, {Resident: 3, Anonymous: 2}, {Resident: 2, Anonymous: 2, FileBacked: 3}})
	if w.CPUPerMillion != 2000 || w.CPUCores != 0.2 || w.DeliveredPerDue != 1 || w.WirePerSample != 10 || w.RSSMedian != 2 || w.RSSMax != 3 ||
		w.AnonymousMedian != 2 || w.FileMedian != 0 || w.Threads != 5 {
		t.Errorf("window = %+v", w)
	}
	if got := w.OtherCores; got < 0.499 || got > 0.501 {
		t.Errorf("others' cores = %v, want 0.5", got)
	}
}

func TestFleetArgsSayEverything(t *testing.T) {
	want := fleet.Config{
		Targets: 3, Series: 7, Replicas: 2, Moving: 0.3, Churn: 0.01, OneAddress: true, Base: netip.MustParseAddrPort("127.2.3.4:99"),
		Page: fleet.Page{Shuffle: true, Ungrouped: true, BlankLines: true, Timestamps: true, Gzip: true},
	}
	var got fleet.Config
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	FleetFlags(fs, &got)
	if err := fs.Parse(fleetArgs(want)); err != nil || got != want {
		t.Errorf("fleet = %+v, %v; want %+v", got, err, want)
	}
}
