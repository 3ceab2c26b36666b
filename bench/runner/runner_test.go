package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
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
		err = poster(ctx, os.Args[2:])
	case "store":
		err = testStore(ctx, os.Args[2:])
	case "--config-path":
		err = testEnvoy(ctx, os.Args[2])
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestRunMeasuresAnAgent is a whole run, with real processes and a few seconds of real time.
func TestRunMeasuresAnAgent(t *testing.T) {
	t.Parallel()
	c := posterConfig(t, fleet.Page{Shuffle: true, Gzip: true})
	c.Windows = 2
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
	w := row.Windows[0]
	if w.PerScrape.ReadCalls == 0 || w.PerScrape.WriteCalls == 0 || w.PerSecond.Waits == 0 ||
		w.PerScrape.ReadBytes < w.PagePerScrape {
		t.Errorf("counts per scrape %+v, per second %+v; want calls, waits, and the bytes of pages at least",
			w.PerScrape, w.PerSecond)
	}
	var text, markdown, kept bytes.Buffer
	if err := errors.Join(report.WriteText(&text), report.WriteMarkdown(&markdown),
		report.WriteJSON(&kept)); err != nil {
		t.Fatal(err)
	}
	var again Report
	if err := json.Unmarshal(kept.Bytes(), &again); err != nil || again.Rows[0].Served.Samples != row.Served.Samples {
		t.Errorf("the JSON report does not hold what was measured (%v)", err)
	}
	if !strings.Contains(text.String(), "CPU-s/M samples") || !strings.Contains(text.String(), "read calls/scrape") ||
		!strings.Contains(markdown.String(), "| poster |") {
		t.Errorf("reports lack their rows:\n%s\n%s", text.String(), markdown.String())
	}
	t.Log("\n" + text.String())
}

func TestComplete(t *testing.T) {
	good := Row{Agent: "a", Windows: []Window{{Seconds: 60, DeliveredPerDue: 0.998},
		{Seconds: 60, DeliveredPerDue: 1.002}}}
	if err := (Report{Rows: []Row{good}}).Complete(); err != nil {
		t.Error(err)
	}
	cold := good // two pages came too late while everything was new
	cold.WarmupFailed, cold.Served.Series, cold.Lost = 2, 100, 200
	if err := (Report{Rows: []Row{cold}}).Complete(); err != nil {
		t.Error(err)
	}
	few := good // all targets in one wave: two minutes have seven of them or eight
	few.Fleet.Targets = 30
	few.Windows = []Window{{Seconds: 60, DeliveredPerDue: 1}, {Seconds: 60, DeliveredPerDue: 0.76}}
	if err := (Report{Rows: []Row{few}, Interval: "15s"}).Complete(); err != nil {
		t.Error(err)
	}
	few.Fleet.Targets = 200
	if err := (Report{Rows: []Row{few}, Interval: "15s"}).Complete(); err == nil {
		t.Error("no error for many targets, of which a window cannot lack all")
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

func TestAgentThatEndsIsAnError(t *testing.T) {
	t.Parallel()
	c := posterConfig(t, fleet.Page{})
	c.Warmup = 10 * time.Second
	c.Cases[0].Agent.Prepare = func(Setup) (Command,
		error) {
		return Command{Args: []string{"poster", "no-such-file", "", ""}}, nil
	}
	_, err := Run(t.Context(), c, t.Output())
	if err == nil || !strings.Contains(err.Error(), "no-such-file") {
		t.Errorf("error = %v, want the end of the agent's log", err)
	}
}

func TestParseProc(t *testing.T) {
	status := "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nRssAnon:\t     768 kB\nRssFile:\t     256 kB\n" +
		"Threads:\t9\n"
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
	b := &bed{config: Config{Interval: 10 * time.Second, Checks: true},
		fleetConfig: fleet.Config{Targets: 10, Series: 100}, kept: 100}
	begin := snapshot{at: time.Unix(100, 0)}
	end := snapshot{at: time.Unix(110, 0), agentCPU: 2 * time.Second, fleetCPU: time.Second, receiverCPU: time.Second,
		busy: 9 * time.Second}
	end.served = fleet.Stats{Scrapes: 10, Samples: 1000}
	end.received.Samples, end.received.Synthetic, end.received.WireBytes = 1050, 50, 10_500
	w := b.between(begin, end, []usage{{Resident: 1, Anonymous: 1, Threads: 5}, {Resident: 3, Anonymous: 2},
		{Resident: 2, Anonymous: 2, FileBacked: 3}})
	if w.CPUPerMillion != 2000 || w.CPUCores != 0.2 || w.DeliveredPerDue != 1 || w.WirePerSample != 10 ||
		w.RSSMedian != 2 || w.RSSMax != 3 ||
		w.AnonymousMedian != 2 || w.FileMedian != 0 || w.Threads != 5 {
		t.Errorf("window = %+v", w)
	}
	if got := w.OtherCores; got < 0.499 || got > 0.501 {
		t.Errorf("others' cores = %v, want 0.5", got)
	}
}

func TestOthersAreNotTheBedsOfOneRun(t *testing.T) {
	windows := withoutEachOther([]Window{
		{CPUCores: 0.1, FleetCores: 0.1, ReceiverCores: 0.1, OtherCores: 1},
		{CPUCores: 0.2, FleetCores: 0.2, ReceiverCores: 0.3, OtherCores: 0.29},
	})
	if a, b := windows[0].OtherCores, windows[1].OtherCores; a < 0.299 || a > 0.301 || b != 0 {
		t.Errorf("others' cores = %v and %v, want 0.3 and 0", a, b)
	}
}

func TestEnoughDescriptors(t *testing.T) {
	if err := enoughOf(20_000, 9000); err != nil {
		t.Error(err)
	}
	if err := enoughOf(18_000, 9000); err == nil || !strings.Contains(err.Error(), "ulimit -n 18200") {
		t.Errorf("error = %v, want the number of descriptors", err)
	}
}

// TestLearned waits for as long as the agent takes.
func TestLearned(t *testing.T) {
	t.Parallel()
	c := posterConfig(t, fleet.Page{})
	k := c.Cases[0]
	b, err := newBed(t.Context(), c, k.Fleet, k.Agent.Accept, c.Out)
	t.Cleanup(func() {
		if err := b.stop(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.startAgent(k, k.Fleet.TargetList()[:9]); err != nil { // a target is missing
		t.Fatal(err)
	}
	var l Learning
	if err := b.rest(t.Context(), posterInterval); err != nil {
		t.Fatal(err)
	}
	if err := b.learned(t.Context(), &l); err != nil || l.Seconds != 0 {
		t.Errorf("learned %+v, %v, but a target is missing", l, err)
	}
	if err := writeTargets(b.targetsFile, k.Fleet.TargetList()); err != nil {
		t.Fatal(err)
	}
	for l.Seconds == 0 {
		if err := errors.Join(b.learned(t.Context(), &l), b.rest(t.Context(), 20*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
	}
	if l.CPU <= 0 || l.Scrapes < 10 || l.PeakAnonymous == 0 {
		t.Errorf("learning = %+v, want its CPU and memory, and a scrape of each of ten targets", l)
	}
}

func TestLearning(t *testing.T) {
	l := Learning{CPU: 5, Scrapes: 300}
	l.compare([]Window{{CPUPerScrape: 0.002}, {CPUPerScrape: 0.003}, {CPUPerScrape: 0.001}})
	if got := l.LearnCPU(); got < 4.399 || got > 4.401 {
		t.Errorf("CPU to learn = %v, want 4.4: 5 s less 300 scrapes of 2 ms", got)
	}
}

func TestFleetArgsSayEverything(t *testing.T) {
	want := fleet.Config{
		Targets: 3, Series: 7, Replicas: 2, Moving: 0.3, Churn: 0.01, OneAddress: true,
		Base: netip.MustParseAddrPort("127.2.3.4:99"),
		Page: fleet.Page{Shuffle: true, Ungrouped: true, BlankLines: true, Timestamps: true, Distinct: true,
			Gzip: true},
	}
	var got fleet.Config
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	FleetFlags(fs, &got)
	if err := fs.Parse(fleetArgs(want)); err != nil || got != want {
		t.Errorf("fleet = %+v, %v; want %+v", got, err, want)
	}
}
