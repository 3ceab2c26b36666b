package simulate

import (
	"fmt"
	"os"
	"slices"
	"sort"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/onecpu"
)

// TestMain runs the tests on one processor, so that the same seed gives the same run.
func TestMain(m *testing.M) { onecpu.Main(m) }

// hour is a short run: an hour of a small mesh. In odd seeds pods come from Kubernetes. Of three seeds, one has two
// agents that share the targets, and one has three. Every fourth seed is exact. Of the others, every fifth has small
// queues, and three of five ask for pages with a filter.
func hour(seed uint64) options {
	o := options{Seed: seed, Duration: time.Hour, Pods: 8, Series: 50, Interval: 15 * time.Second,
		Timeout: 5 * time.Second, Agents: 1, Faults: -1, Kubernetes: seed%2 == 1, Exact: seed%4 == 0}
	if o.Exact {
		return o
	}
	o.SmallQueue, o.PushDown = seed%5 == 0, seed%5 < 3
	switch seed % 3 {
	case 0:
		o.Agents = 2
	case 2:
		o.Agents = 3
	}
	return o
}

// simulate runs one simulation in a bubble of its own.
func simulate(t *testing.T, o options) (res result) {
	t.Helper()
	o.Dir = t.TempDir()
	if os.Getenv("SIMULATE_WATCH") != "" {
		o.Watch = func(line string) { fmt.Fprintln(os.Stderr, line) }
	}
	synctest.Test(t, func(*testing.T) { res = run(o) })
	return res
}

// TestOneAgentInAStaticWorld: without faults everything arrives, and nothing is counted as lost.
func TestOneAgentInAStaticWorld(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { testStaticWorld(t, seed) })
	}
}

func testStaticWorld(t *testing.T, seed uint64) {
	o := hour(seed)
	o.Agents, o.Duration, o.Faults = 1, 10*time.Minute, 0
	began := time.Now()
	res := simulate(t, o)
	for _, p := range res.Problems {
		t.Error(p)
	}
	for name, n := range res.Compared.Lost {
		t.Errorf("%s: %d samples lost, want none", name, n)
	}
	if pages := o.Pods * int(o.Duration/o.Interval); res.Compared.Pages < pages || res.Compared.Batches < 2*pages {
		t.Errorf("compared %+v, want at least %d pages", res.Compared, pages)
	}
	logResult(t, res, time.Since(began))
}

func logResult(t *testing.T, res result, took time.Duration) {
	t.Logf("seed %d: %v in %v: %.0f simulated seconds per second, %d of %d faults, %+v", res.Seed, res.Simulated,
		took, res.Simulated.Seconds()/took.Seconds(), sum(res.Happened), res.Scheduled, res.Compared)
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// setting returns a number from the environment.
func setting(t *testing.T, name string, fallback float64) float64 {
	text := os.Getenv(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestSeeds runs SIMULATE_SEEDS seeds, or, if that is 0, seeds for SIMULATE_SECONDS. `make simulate` sets the
// environment:
//
//	SIMULATE_SEED=42 SIMULATE_SEEDS=1 SIMULATE_DAYS=7 go test -run TestSeeds -timeout 0 ./internal/simulate
func TestSeeds(t *testing.T) {
	first := uint64(setting(t, "SIMULATE_SEED", 1))
	seeds := int(setting(t, "SIMULATE_SEEDS", 0))
	wall := time.Duration(setting(t, "SIMULATE_SECONDS", 60) * float64(time.Second))
	if testing.Short() {
		wall = 5 * time.Second
	}
	happened := map[string]int{}
	began := time.Now()
	for n := 0; n < seeds || seeds == 0 && time.Since(began) < wall; n++ {
		o := hour(first + uint64(n))
		if days := setting(t, "SIMULATE_DAYS", 0); days > 0 {
			o.Duration, o.Pods = time.Duration(days*24*float64(time.Hour)), int(setting(t, "SIMULATE_PODS", 200))
		}
		o.Faults = int(setting(t, "SIMULATE_FAULTS", -1))
		from := time.Now()
		res := simulate(t, o)
		logResult(t, res, time.Since(from))
		for kind, n := range res.Happened {
			happened[kind] += n
		}
		if len(res.Problems) > 0 {
			report(t, o, res)
			return
		}
	}
	for _, k := range kinds() {
		t.Logf("%5d %s", happened[k.name], k.name)
	}
}

// report says what a run found, and with which faults it still finds something.
func report(t *testing.T, o options, res result) {
	faults := sum(res.Happened)
	if os.Getenv("SIMULATE_SHORTEST") != "0" {
		// A run with more faults nearly always fails if one with fewer does.
		faults = sort.Search(faults, func(n int) bool {
			prefix := o
			prefix.Faults = n
			if n > 0 {
				prefix.Duration = min(o.Duration, schedule(o)[n-1].At+time.Second)
			}
			again := simulate(t, prefix)
			if len(again.Problems) > 0 {
				res, o = again, prefix
			}
			return len(again.Problems) > 0
		})
	}
	for _, p := range res.Problems[:min(len(res.Problems), 15)] {
		t.Error(p)
	}
	last := schedule(o)
	last = last[:min(faults, len(last))]
	for _, f := range last[max(0, len(last)-8):] {
		t.Log(f)
	}
	for _, e := range res.Errors {
		t.Log(e)
	}
	t.Logf("seed %d fails with the first %d of its faults. To repeat it:\n\tmake simulate SEED=%d FAULTS=%d%s", o.Seed,
		faults, o.Seed, faults, sizeFromEnvironment())
}

// sizeFromEnvironment returns the arguments of make that give a run its size, " DAYS=7 SIMULATE_PODS=20", or nothing.
func sizeFromEnvironment() (text string) {
	if days := os.Getenv("SIMULATE_DAYS"); days != "" {
		text = " DAYS=" + days
	}
	if pods := os.Getenv("SIMULATE_PODS"); pods != "" {
		text += " SIMULATE_PODS=" + pods
	}
	return text
}

// TestSameSeedSameTrace: two runs of a seed have the same trace, byte for byte.
func TestSameSeedSameTrace(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			var traces [2]*trace
			for i := range traces {
				o := hour(seed)
				o.Duration, o.Pods, o.KeepTrace = 12*time.Minute, 3, true
				res := simulate(t, o)
				if len(res.Problems) > 0 {
					t.Fatal(res.Problems)
				}
				traces[i] = res.Trace
			}
			a, b := traces[0], traces[1]
			if a.Sum() == b.Sum() {
				return
			}
			for i := range min(len(a.Lines()), len(b.Lines())) {
				if a.Lines()[i] != b.Lines()[i] {
					t.Fatalf("line %d of %d:\n%s\n%s", i, len(a.Lines()), a.Lines()[i], b.Lines()[i])
				}
			}
			t.Errorf("%d and %d lines", len(a.Lines()), len(b.Lines()))
		})
	}
}

// TestEveryKindHappens: a week has each kind of fault at least a hundred times.
func TestEveryKindHappens(t *testing.T) {
	counts := map[string]int{}
	for _, kubernetes := range []bool{false, true} {
		for _, f := range schedule(options{Seed: 1, Duration: 7 * 24 * time.Hour, Kubernetes: kubernetes}) {
			counts[f.Kind]++
		}
	}
	for _, k := range kinds() {
		if counts[k.name] < 100 {
			t.Errorf("%s: %d times, want 100", k.name, counts[k.name])
		}
	}
}

// TestSchedulesRepeat: a schedule follows from its seed, its episodes end before calm times, and another seed has
// another one.
func TestSchedulesRepeat(t *testing.T) {
	day := func(seed uint64) []scheduledFault { return schedule(options{Seed: seed, Duration: 24 * time.Hour}) }
	a := day(1)
	if !slices.Equal(a, day(1)) || slices.Equal(a, day(2)) {
		t.Error("a schedule does not follow from its seed")
	}
	for _, f := range a {
		into := (f.At - warmUp) % (episode + calm)
		if into+f.For > episode {
			t.Errorf("%v ends in a calm time", f)
		}
	}
}
