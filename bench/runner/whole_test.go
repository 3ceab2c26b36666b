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

// TestWhole is a whole run, with real processes and a few seconds of real time.
func TestWhole(t *testing.T) {
	t.Parallel()
	c := posterWhole(t)
	c.Profile = true
	r, err := Whole(t.Context(), c, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Ways) != 2 {
		t.Fatalf("%d ways, want 2", len(r.Ways))
	}
	for _, row := range r.Ways {
		if row.Account.Served == 0 || row.Account.Lost() != 0 {
			t.Errorf("%s: account = %+v, want all samples stored", row.Name, row.Account)
		}
		// How many samples a short window has is up to the machine's load.
		if w := row.Windows[0]; w.ReceiverRSSMedian == 0 || (w.RSSMedian > 0) != (row.Name != Direct) {
			t.Errorf("%s: memory of the agent %d, of the store %d; want both, and no agent without one", row.Name,
				w.RSSMedian, w.ReceiverRSSMedian)
		}
		dir := filepath.Join(c.Out, row.Name)
		text, err := os.ReadFile(filepath.Join(dir, "receiver-cpu-top.txt"))
		if err != nil || !strings.Contains(string(text), "Type: cpu") {
			t.Errorf("%s: profile of the receiver %q, %v", row.Name, text, err)
		}
	}
	if text := written(t, r); !strings.Contains(text, "| prometheus-direct | - | ") ||
		!strings.Contains(text, "batch_send_deadline 500ms") {
		t.Errorf("the report lacks a way or a delay:\n%s", text)
	}
}

func TestCatchUp(t *testing.T) {
	t.Parallel()
	c := posterWhole(t)
	c.Ways, c.Outage = c.Ways[1:], 3*posterInterval
	r, err := CatchUp(t.Context(), c, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	row := r.CatchUps[0]
	if row.Down < c.Outage.Seconds() || row.Backlog == 0 || row.Account.Lost() != 0 || row.Account.Served == 0 {
		t.Errorf("%.2f s down, backlog %.0f, account %+v; want an outage, a backlog, and all samples stored in the end",
			row.Down, row.Backlog, row.Account)
	}
	written(t, r)
}

func TestCatchUpNeedsAnAgent(t *testing.T) {
	c := WholeConfig{Ways: []Way{{Name: Direct}}}
	if _, err := CatchUp(t.Context(), c, t.Output()); err == nil || !strings.Contains(err.Error(), "no agent") {
		t.Errorf("error = %v, want one that says that there is no agent", err)
	}
}

func TestCatchUpFigures(t *testing.T) {
	look := func(at int64, stored, pending float64, agent, store time.Duration) wholeSnapshot {
		s := wholeSnapshot{stored: stored, pending: pending}
		s.at, s.agentCPU, s.receiverCPU, s.busy = time.Unix(at, 0), agent, store, agent+2*store
		return s
	}
	var row CatchUpRow
	stopped, started := look(100, 5000, 10, 0, 0), look(159, 0, 6000, time.Second, 0)
	row.between(stopped, started, []wholeSnapshot{ // 60 s down, a sample 3 s after the start, 4 s of draining
		look(160, 0, 6100, time.Second, time.Second), look(162, 0, 6200, time.Second, 2*time.Second),
		look(164, 4000, 3000, 2*time.Second, 4*time.Second), look(166, 8000, 100, 3*time.Second, 6*time.Second),
	}, 500)
	if row.Down != 60 || row.Usual != 500 || row.Backlog != 6000 || row.First != 3 || row.Drain != 4 ||
		row.Stored != 8000 || row.PerSecond() != 2000 || row.AgentPerMillion != 250 || row.ReceiverPerMillion != 500 ||
		row.Others != 1 {
		t.Errorf("row = %+v", row)
	}
}

func TestFindWays(t *testing.T) {
	all, err := FindWays("all")
	want := []string{
		"prometheus-direct", "envoy-scraper-2.0", "envoy-scraper-2.0-n3", "envoy-scraper-2.0-n6", "envoy-scraper-1.0",
		"envoy-scraper-1.0-n3", "envoy-scraper-1.0-n6", "prometheus-2.0", "vmagent",
	}
	if err != nil || !slices.Equal(wayNames(all), want) {
		t.Errorf("ways = %v, %v; want %v", wayNames(all), err, want)
	}
	if ours, err := FindWays("ours"); err != nil || !slices.Equal(wayNames(ours), want[1:7]) {
		t.Errorf("ways = %v, %v; want %v", wayNames(ours), err, want[1:7])
	}
	some, err := FindWays("vmagent,envoy-scraper-1.0-n6")
	if err != nil || len(some) != 2 || some[0].Agent.Name != "vmagent" || some[1].Agent.Name != "envoy-scraper-1.0" ||
		some[1].delay(10*time.Second) != time.Minute || some[0].delay(10*time.Second) != 0 {
		t.Errorf("ways = %+v, %v", some, err)
	}
	if _, err := FindWays("nobody"); err == nil || !strings.Contains(err.Error(), "envoy-scraper-2.0-n3") {
		t.Errorf("error = %v, want one that lists the ways", err)
	}
}

func TestWindowsFitTheDelays(t *testing.T) {
	for _, tc := range []struct {
		scrapes        []int
		warmup, window time.Duration // wanted
		windows        int
	}{
		{[]int{0, 0}, time.Minute, time.Minute, 3},
		{[]int{0, 3}, time.Minute, time.Minute, 3},
		{[]int{3, 6}, 2 * time.Minute, time.Minute, 3},
		{[]int{4, 6}, 2 * time.Minute, 2 * time.Minute, 1},
		{[]int{12}, 4 * time.Minute, 2 * time.Minute, 1},
		{[]int{30}, 10 * time.Minute, 5 * time.Minute, 1},
	} {
		c := WholeConfig{}
		c.Interval, c.Warmup, c.Window, c.Windows = 10*time.Second, time.Minute, time.Minute, 3
		for _, n := range tc.scrapes {
			c.Ways = append(c.Ways, Way{Scrapes: n})
		}
		if c = c.fit(); c.Warmup != tc.warmup || c.Window != tc.window || c.Windows != tc.windows {
			t.Errorf("%v: warm-up %v, %d windows of %v; want %v, %d of %v", tc.scrapes, c.Warmup, c.Windows, c.Window,
				tc.warmup, tc.windows, tc.window)
		}
	}
}

func TestDelayIsTheDeadlineOfTheEndpoint(t *testing.T) {
	const key = "queue_config: {batch_send_deadline: 60000ms}"
	if text := (Setup{Delay: time.Minute}).remoteWrite(message1); !strings.Contains(text, "  "+key) {
		t.Errorf("%q is missing in\n%s", key, text)
	}
	if text := (Setup{}).remoteWrite(message1); strings.Contains(text, "queue_config") {
		t.Errorf("the default is changed by\n%s", text)
	}
}

func TestWholeBetween(t *testing.T) {
	b := &wholeBed{bed: &bed{
		config: Config{Interval: 10 * time.Second, Checks: true}, synthetic: 5,
		fleetConfig: fleet.Config{Targets: 10, Series: 95}, kept: 95,
	}}
	b.config.Config = b.bed.config
	var begin, end wholeSnapshot
	begin.at, end.at = time.Unix(100, 0), time.Unix(110, 0)
	end.served = fleet.Stats{Scrapes: 10, Samples: 950}
	end.agentCPU, end.receiverCPU, end.busy = 1900*time.Microsecond, 5*time.Millisecond, time.Second
	begin.stored, end.stored, end.rejected = 500, 1500, 3
	end.sent, end.queued, end.written, end.storeOnDisk = 9000, 14_000, 40_960, 4096
	w := b.between(begin, end, []usage{{Resident: 7, Anonymous: 5}}, []usage{{Resident: 70}})
	if w.CPUPerMillion != 2 || w.ReceiverPerMillion != 5 || w.Both() != 7 || w.Delivered != 1000 ||
		w.DeliveredPerDue != 1 || w.StoredPerSecond() != 100 || w.Rejected != 3 || w.WirePerSample != 9 ||
		w.QueuePerSample != 14 || w.DiskPerSample != 40.96 || w.ReceiverDisk != 4.096 || w.RSSMedian != 7 ||
		w.AnonymousMedian != 5 || w.ReceiverRSSMedian != 70 {
		t.Errorf("window = %+v", w)
	}
}

func TestWholeAgainstDirect(t *testing.T) {
	row := func(name string, agent, store float64) WholeRow {
		w := WholeWindow{ReceiverPerMillion: store}
		w.Seconds, w.CPUPerMillion, w.DeliveredPerDue = 60, agent, 1
		return WholeRow{Name: name, Windows: []WholeWindow{w, w}}
	}
	r := WholeReport{Ways: []WholeRow{row("ours", 1, 6), row(Direct, 0, 4)}}
	if got := r.AgainstDirect(6); got != 1.5 {
		t.Errorf("6 against direct is %v, want 1.5", got)
	}
	text := written(t, r)
	for _, want := range []string{
		"| ours | 1.000 | 6.000 | 7.000 | 7.000 to 7.000 | 1.50 | 1.75 |",
		"| prometheus-direct | - | 4.000 | 4.000 | 4.000 to 4.000 | 1.00 | 1.00 |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	r.Ways = r.Ways[:1]
	if text := written(t, r); !strings.Contains(text, "| ours | 1.000 | 6.000 | 7.000 | 7.000 to 7.000 | - | - |") {
		t.Errorf("a ratio to a way that was not measured:\n%s", text)
	}
}
