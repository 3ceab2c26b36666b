package runner

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
)

// written is a report in its two forms for people, and asserts that its JSON is one.
func written(t *testing.T, r interface {
	WriteText(io.Writer) error
	WriteMarkdown(io.Writer) error
	WriteJSON(io.Writer) error
}) string {
	t.Helper()
	var text, kept bytes.Buffer
	if err := errors.Join(r.WriteText(&text), r.WriteMarkdown(&text), r.WriteJSON(&kept)); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(kept.Bytes()) {
		t.Errorf("not JSON:\n%s", kept.String())
	}
	return text.String()
}

func TestIdle(t *testing.T) {
	t.Parallel()
	c := posterConfig(t, fleet.Page{})
	r, err := Idle(t.Context(), c, posterInterval, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	row := r.Idle[0]
	if row.Resident == 0 || row.Threads == 0 || row.FirstSample <= 0 || row.AllSeries < row.FirstSample {
		t.Errorf("row = %+v, want memory, and times of which the first is the smaller", row)
	}
	if text := written(t, r); !strings.Contains(text, "| poster | ") ||
		!strings.Contains(text, "10 targets x 100 series") {
		t.Errorf("the report lacks its row or its fleet:\n%s", text)
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	c := posterConfig(t, fleet.Page{})
	c.Windows = 2
	other := c.Cases[0]
	other.Name, other.Program = "other", c.Self
	c.Cases = append(c.Cases, other)
	var progress bytes.Buffer
	r, err := Diff(t.Context(), c, &progress)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for line := range strings.Lines(progress.String()) {
		if _, rest, ok := strings.Cut(line, "round "); ok {
			_, rest, _ = strings.Cut(rest, ", ")
			name, _, _ := strings.Cut(rest, ":")
			order = append(order, name)
		}
	}
	if want := []string{"poster", "other", "other", "poster"}; !slices.Equal(order, want) {
		t.Errorf("order = %v, want %v", order, want)
	}
	for _, round := range r.Rounds {
		for _, leg := range []Leg{round.Base, round.New} {
			if leg.Samples == 0 || leg.CPUPerMillion == 0 || leg.WarmupCPU == 0 {
				t.Errorf("leg = %+v, want samples and their CPU", leg)
			}
		}
	}
	written(t, r)
}

func TestDiffTogether(t *testing.T) {
	t.Parallel()
	c := posterConfig(t, fleet.Page{})
	c.Windows, c.Together = 2, true
	other := c.Cases[0]
	other.Name, other.Program = "other", c.Self
	c.Cases = append(c.Cases, other)
	r, err := Diff(t.Context(), c, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rounds) != 2 || len(r.Rows) != 2 || r.Rows[0].Lost != 0 || r.Rows[1].Lost != 0 ||
		r.Rows[0].Fleet.Base != r.Rows[1].Fleet.Base {
		t.Errorf("%d rounds, rows = %+v; want two windows of each, with the same fleet and nothing lost", len(r.Rounds),
			r.Rows)
	}
	for _, round := range r.Rounds {
		for _, leg := range []Leg{round.Base, round.New} {
			if leg.Samples == 0 || leg.CPUPerMillion == 0 || leg.WarmupCPU == 0 {
				t.Errorf("leg = %+v, want samples and their CPU", leg)
			}
		}
	}
	if text := written(t, r); !strings.Contains(text, "medians of 2 windows, in which both ran") {
		t.Errorf("the report does not say that both ran:\n%s", text)
	}
}

func TestDiffComparesWithinRounds(t *testing.T) {
	leg := func(cpu float64) Leg {
		return Leg{Window: Window{CPUPerMillion: cpu, RSSMedian: 1 << 20, DeliveredPerDue: 1}}
	}
	r := DiffReport{Base: "a", New: "b", Rounds: []Round{
		{leg(2), leg(1)}, {leg(20), leg(10)}, {leg(1), leg(1.2)}, // the machine was ten times as slow in the second
	}}
	s := r.ratios(func(l Leg) float64 { return l.CPUPerMillion })
	if s != (spreadOf{median: 0.5, low: 0.5, high: 1.2, less: 2}) {
		t.Errorf("ratios = %+v", s)
	}
	if text := written(t, r); !strings.Contains(text,
		"| CPU-s/M samples | 2.000 | 1.200 | 0.500 | 0.500 to 1.200 | 2 of 3 |") {
		t.Errorf("the line of CPU is not as it should be:\n%s", text)
	} else if strings.Contains(text, "NOT COMPARABLE") {
		t.Errorf("all delivered what was due, yet:\n%s", text)
	}
	r.Rounds[1].New.DeliveredPerDue = 0.3
	if text := written(t, r); !strings.Contains(text, "NOT COMPARABLE: round 2: b delivered 0.3000") {
		t.Errorf("the report does not say that a run was starved:\n%s", text)
	}
}

func TestSoak(t *testing.T) {
	t.Parallel()
	c := posterConfig(t, fleet.Page{})
	r, err := Soak(t.Context(), c, SoakConfig{Duration: 4 * posterInterval, Rotate: posterInterval,
		Every: posterInterval / 4}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if r.Rotations < 2 || r.Departures != r.Rotations || len(r.Points) < 6 {
		t.Errorf("%d rotations, %d departures, %d looks; want at least 2, one of ten targets each time, 6", r.Rotations,
			r.Departures, len(r.Points))
	}
	a := r.Account
	if a.Served == 0 || a.Read != a.Served || a.Received != a.Served || a.Lost != 0 || a.CutOff != 0 {
		t.Errorf("account = %+v, want everything to arrive", a)
	}
	text := written(t, r)
	for _, want := range []string{"go_goroutines | 7 | 7 | 7 | 7 | 7 | yes", soakSeries + " | 1000 | 1000"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	away, err := posterTargets(filepath.Join(c.Out, "poster", "run", "targets.json"))
	if err != nil || len(away) != 9 {
		t.Errorf("the last rotation left %d targets, %v; want 9", len(away), err)
	}
}

func TestProfile(t *testing.T) {
	t.Parallel()
	c := posterConfig(t, fleet.Page{})
	top, err := Profile(t.Context(), c, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(top, "Type: cpu") {
		t.Errorf("not what pprof says of a CPU profile:\n%s", top)
	}
	for _, name := range []string{"cpu.pb.gz", "heap.pb.gz", "cpu-top.txt", "cpu-cum.txt", "heap-top.txt",
		"alloc-top.txt", "cpu-parts.txt"} {
		if text, err := os.ReadFile(filepath.Join(c.Out, name)); err != nil || len(text) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
	}
}

func TestScale(t *testing.T) {
	t.Parallel()
	c := posterConfig(t, fleet.Page{})
	r, err := Scale(t.Context(), c, []int{1, 3}, 2, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	var targets []int
	for _, row := range r.Rows {
		targets = append(targets, row.Served.Targets)
		if row.Lost != 0 || row.Windows[0].Samples == 0 {
			t.Errorf("%s: lost %d, %d samples; want some, and all of them", row.Name, row.Lost, row.Windows[0].Samples)
		}
	}
	if !slices.Equal(targets, []int{1, 2, 3, 2}) || len(r.Remarks) != 3 {
		t.Errorf("targets of the rows %v, remarks = %q; want each size beside 2 targets, and a verdict", targets,
			r.Remarks)
	}
	written(t, r)
}

func TestFlatness(t *testing.T) {
	size := func(targets int, cpu ...float64) sized {
		row := measured("a", 1, cpu...)
		row.Fleet.Targets = targets
		return newSized(row, measured("a", 1, 2, 1, 1)) // the machine was half as fast in the first window
	}
	got := flatness("a", 300, []sized{size(100, 4, 2, 1), size(1000, 2, 1.2, 1)})
	want := []string{
		"a: CPU of a sample of 100 targets beside one of 300 at the same time: 2.000 (windows: 1.000 to 2.000)",
		"a: CPU of a sample of 1000 targets beside one of 300 at the same time: 1.000 (windows: 1.000 to 1.200)",
		"a: flat within 25 % from 300 targets up",
	}
	if !slices.Equal(got, want) {
		t.Errorf("verdict = %q, want %q", got, want)
	}
	got = flatness("a", 300, []sized{size(9000, 1, 0.5, 0.5)}) // less is not flat either
	if !strings.HasPrefix(got[1], "a: not flat") {
		t.Errorf("verdict = %q", got)
	}
}

func TestThirds(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		name, figure string
		value        func(n int) float64
		flat         bool
	}{
		{"as it was", soakRSS, func(int) float64 { return 40 * mib }, true},
		{"up and down", soakRSS, func(n int) float64 { return float64(40+5*(n%2)) * mib }, true},
		{"grown at first", soakRSS, func(n int) float64 { return float64(40+min(n, 10)) * mib }, true},
		{"shrinking", soakRSS, func(n int) float64 { return float64(60-n) * mib }, true},
		{"leak", soakRSS, func(n int) float64 { return float64(40+n) * mib }, false},
		{"goroutines leak", soakGoroutines, func(n int) float64 { return float64(100 + 2*n) }, false},
		{"a few goroutines", soakGoroutines, func(n int) float64 { return float64(10 + n/5) }, true},
		{"series leak", soakSeries, func(n int) float64 { return float64(1000 + 10*n) }, false},
	} {
		var points []SoakPoint
		for n := range 31 {
			points = append(points, SoakPoint{Seconds: float64(10 * n),
				Values: map[string]float64{tt.figure: tt.value(n)}})
		}
		got := thirds(points)
		if len(got) != 1 || got[0].Flat != tt.flat || got[0].First != median3(tt.value, 0, 10) ||
			got[0].Last != median3(tt.value, 20, 31) {
			t.Errorf("%s: %+v, want flat = %v", tt.name, got, tt.flat)
		}
	}
	if thirds([]SoakPoint{{}, {}}) != nil {
		t.Error("two looks are enough for a verdict")
	}
}

func median3(of func(int) float64, from, to int) float64 {
	var values []float64
	for n := from; n < to; n++ {
		values = append(values, of(n))
	}
	return median(values)
}

func TestSoakErrors(t *testing.T) {
	good := func() SoakReport {
		return SoakReport{Thirds: []Thirds{{Figure: soakRSS, Flat: true}},
			Account: Account{Served: 100, Read: 100, Received: 100}}
	}
	if err := good().Err(); err != nil {
		t.Errorf("error = %v, want none", err)
	}
	for _, tt := range []struct {
		want  string
		spoil func(*SoakReport)
	}{
		{"not flat", func(r *SoakReport) { r.Thirds[0].Flat = false }},
		{"too short", func(r *SoakReport) { r.Thirds = nil }},
		{"never arrived", func(r *SoakReport) { r.Account.Lost = 1 }},
		{"served but not read", func(r *SoakReport) { r.Account.CutOff = 1 }},
		{"1 scrapes failed", func(r *SoakReport) { r.Account.FailedScrapes = 1 }},
		{"2 out of order", func(r *SoakReport) { r.Account.Violations, r.Account.ViolationKind = 2, "2 out of order" }},
	} {
		r := good()
		tt.spoil(&r)
		if err := r.Err(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error = %v, want one that says %q", err, tt.want)
		}
		if text := written(t, r); !strings.Contains(text, "NOT GOOD") {
			t.Errorf("%s: the report says nothing", tt.want)
		}
	}
}

func TestAccount(t *testing.T) {
	served := fleet.Stats{Series: 100, Samples: 1000}
	r := SoakReport{}
	r.Received.Samples = 895
	r.Received.Synthetic = 5
	m := ownMetrics{readMetric: 900, dropMetric: 3, sendMetric: 7}
	a := account(served, r.Received, m, 100)
	if a.CutOff != 100 || a.CutOffLimit != 300 || a.Lost != 10 || a.Dropped != 10 {
		t.Errorf("account = %+v", a)
	}
	if a := account(served, r.Received, ownMetrics{}, 0); a.Lost != 0 || a.CutOff != 110 || a.CutOffLimit != 100 {
		t.Errorf("without the agent's own count: %+v", a)
	}
}

func TestParseMetrics(t *testing.T) {
	m, err := parseMetrics([]byte("# TYPE a_total counter\na_total{job=\"x\"} 1\na_total{job=\"y\"} 2\n" +
		"# TYPE b gauge\nb 5\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_sum 1\nh_count 3\n"))
	if err != nil || fmt.Sprint(m) != "map[a_total:3 b:5]" {
		t.Errorf("metrics = %v, %v", m, err)
	}
	if _, err := parseMetrics([]byte("<html>")); err == nil {
		t.Error("no error for a page that is none")
	}
}

func TestEveryTargetLeavesInTurn(t *testing.T) {
	all := fleet.DefaultConfig().TargetList()
	away := map[string]int{}
	for rotation := range leaveOneIn {
		stay := present(all, rotation)
		if len(stay) != len(all)*9/10 {
			t.Fatalf("rotation %d: %d targets stay of %d", rotation, len(stay), len(all))
		}
		for _, tg := range all {
			if !slices.Contains(stay, tg) {
				away[tg.Pod]++
			}
		}
	}
	if len(away) != len(all) {
		t.Errorf("%d targets left within ten rotations, want all %d", len(away), len(all))
	}
}

func TestDefaultSoakFitsItsLength(t *testing.T) {
	if s := DefaultSoak(30 * time.Minute); s.Rotate != time.Minute || s.Every != 10*time.Second {
		t.Errorf("30 minutes: %+v", s)
	}
	if s := DefaultSoak(2 * time.Minute); s.Rotate != 20*time.Second || s.Every != time.Second {
		t.Errorf("2 minutes: %+v", s)
	}
}
