package runner

import (
	"bytes"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
)

// measured is a row with windows of the given CPU, and memory in MiB.
func measured(name string, rss int64, cpu ...float64) Row {
	r := Row{Name: name, Agent: name, Fleet: fleet.Config{Targets: 1, Series: 1}}
	for _, c := range cpu {
		r.Windows = append(r.Windows, Window{CPUPerMillion: c, RSSMedian: rss << 20, OtherCores: c / 100})
	}
	return r
}

func TestCompareTakesTheBestPeerOfEachFigure(t *testing.T) {
	fast, small, tuned := measured("fast", 400, 8, 7, 9), measured("small", 100, 20), measured("tuned", 500, 4)
	fast.Peer, small.Peer, tuned.Peer, tuned.Tuned = true, true, true, true
	ours, other := measured("ours", 50, 0.5, 1.5, 0.8), measured("ours-1.0", 60, 2)
	rows := []Row{ours, other, fast, small, tuned}
	c := compare(rows)
	for _, tt := range []struct {
		best map[string]Best
		key  string
		want Best
	}{
		{c.Default, keyCPU, Best{"fast", 8}}, {c.Any, keyCPU, Best{"tuned", 4}},
		{c.Default, keyRSS, Best{"small", 100 << 20}}, {c.Any, keyRSS, Best{"small", 100 << 20}},
	} {
		if got := tt.best[tt.key]; got != tt.want {
			t.Errorf("best in %s = %v, want %v", tt.key, got, tt.want)
		}
	}
	if got := c.VersusDefault["ours"][keyCPU]; got != 0.1 {
		t.Errorf("ours by the best default peer = %v, want 0.1", got)
	}
	if got := c.VersusAny["ours-1.0"][keyCPU]; got != 0.5 {
		t.Errorf("ours-1.0 by the best peer = %v, want 0.5", got)
	}
	if _, ok := c.VersusAny["fast"]; ok {
		t.Error("a peer is compared with itself")
	}
	if _, ok := c.Any["peak_rss_bytes"]; ok {
		t.Error("a peer is best in a figure that nobody measured")
	}

	var text, markdown bytes.Buffer
	r := Report{Rows: rows, Peers: c, Checks: true}
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteMarkdown(&markdown); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| figure | ours | ours-1.0 | fast | small | tuned | best default peer | best peer |",
		"| CPU-s/M samples | 0.800 | 2.000 | 8.000 | 20.000 | 4.000 | 8.000 (fast) | 4.000 (tuned) |",
		"|   from to | 0.500 to 1.500 |",
		"|   of the best default peer's | 0.100 (1/10.0) | 0.250 (1/4.0) | 1.000 | 2.500 | 0.500 (1/2.0) |  |  |",
		"|   of the best peer's | 0.500 (1/2.0) | 0.600 (1/1.7) |", // memory
		"| others' cores | 0.01 | 0.02 | 0.08 |",
	} {
		if !strings.Contains(markdown.String(), want) {
			t.Errorf("%q is missing in\n%s", want, markdown.String())
		}
	}
	if !strings.Contains(text.String(), "8.000 (fast)") {
		t.Errorf("the text lacks the best peer:\n%s", text.String())
	}
}

func TestWithoutPeersThereIsNothingToCompare(t *testing.T) {
	rows := []Row{measured("a", 1, 1), measured("b", 2, 2)}
	var markdown bytes.Buffer
	if err := (Report{Rows: rows, Peers: compare(rows)}).WriteMarkdown(&markdown); err != nil {
		t.Fatal(err)
	}
	if text := markdown.String(); strings.Contains(text, "peer") ||
		!strings.Contains(text, "|   of the first row's | 1.000 | 2.000 |") {
		t.Errorf("want ratios to the first row, and no peers:\n%s", text)
	}
}
