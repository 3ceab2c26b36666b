// Package publish writes the figures of a bench report into the documents, so that README.md, docs/performance.md and
// the picture of the costs always show one build.
//
// The steps: figures.go reduces a report to the numbers that documents show, which are kept as bench/figures/S.json;
// tables.go and bars.go turn them into Markdown and SVG; documents.go puts these between the markers of a document.
// whole.go does the first two steps for a report of the whole way.
package publish

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/runner"
)

// Figures are what documents show of one report.
type Figures struct {
	Commit  string  `json:"commit"` // of our program
	Date    string  `json:"date"`   // as 2026-11-24
	Machine string  `json:"machine"`
	Command string  `json:"command"` // that measures them again
	Fleet   string  `json:"fleet"`
	Windows string  `json:"windows"`
	Others  string  `json:"others_cores"`   // the most that other programs used in a window
	Note    string  `json:"note,omitempty"` // what a reader of these figures must know
	Agents  []Agent `json:"agents"`
}

// Agent is one column of the tables. A figure of 0 was not measured.
type Agent struct {
	Name           string  `json:"name"` // of the agent in bench, as vmagent
	Title          string  `json:"title"`
	CPU            float64 `json:"cpu_seconds_per_million_samples"`
	CPULow         float64 `json:"cpu_low"`
	CPUHigh        float64 `json:"cpu_high"`
	WarmupCPU      float64 `json:"warmup_cpu_seconds"`
	AnonymousMiB   float64 `json:"anonymous_mib"`
	FilesMiB       float64 `json:"of_files_mib"`
	RSSMiB         float64 `json:"rss_mib"`
	PeakMiB        float64 `json:"peak_mib"`
	BytesPerSeries float64 `json:"bytes_per_series"` // resident
	WireBytes      float64 `json:"wire_bytes_per_sample"`
	Delivered      float64 `json:"delivered_per_due"`
	Lost           int64   `json:"lost"`
	FailedScrapes  uint64  `json:"failed_scrapes"`
	FirstSeconds   float64 `json:"first_request_seconds"`
	// LearnedCPU is the CPU until each series had arrived once. LearnCPU is less: without what as many scrapes of known
	// pages cost.
	LearnedCPU float64 `json:"until_learned_cpu_seconds,omitempty"`
	LearnCPU   float64 `json:"learn_cpu_seconds,omitempty"`
	// Counts are what a scrape costs, by runner.CountFigures, as "23.2 (464/s)"; empty: not counted.
	Counts []string `json:"counts_per_scrape,omitempty"`
}

// titles are the agents that documents show, with what they are called there. Others in a report are left out.
var titles = map[string]string{
	"envoy-scraper-2.0": "envoy-scraper (remote write 2.0)",
	"envoy-scraper-1.0": "envoy-scraper (remote write 1.0)",
	"vmagent":           "vmagent 1.151 (remote write 1.0)",
	"prometheus-2.0":    "Prometheus 3.16 agent (remote write 2.0)",
}

// order is the order of columns and bars.
var order = []string{"envoy-scraper-2.0", "envoy-scraper-1.0", "vmagent", "prometheus-2.0"}

// required are the agents without which the tables of a fleet say nothing.
var required = map[string][]string{
	"S": order,
	"L": {"envoy-scraper-2.0", "vmagent"},
	"M": {"envoy-scraper-2.0", "vmagent"},
	"N": {"envoy-scraper-2.0", "vmagent", "prometheus-2.0"},
	// Prometheus' agent would need many GB of memory.
	"XL": {"envoy-scraper-2.0", "vmagent"},
}

// Read returns the figures kept in a file.
func Read(file string) (Figures, error) {
	var f Figures
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	if err != nil {
		return f, fmt.Errorf("read figures: %w", err)
	}
	return f, nil
}

// FromReport reduces the report of a fleet (S, L, M, N or XL). It refuses a report whose figures no document should
// show.
func FromReport(r runner.Report, shape, commit string) (Figures, error) {
	f := Figures{
		Commit: commit, Date: r.Date[:min(len(r.Date), len("2026-11-24"))],
		Machine: fmt.Sprintf("%d cores, %s", r.Cores, r.Machine),
	}
	if strings.HasSuffix(commit, "-dirty") || commit == "" {
		return f, fmt.Errorf("commit %q: the tree has changes that are not committed", commit)
	}
	need, ok := required[shape]
	if !ok {
		return f, fmt.Errorf("fleet %q: documents show S, L, M, N and XL", shape)
	}
	var noise float64
	var errs []error
	for _, name := range order {
		for _, row := range r.Rows {
			if row.Name != name {
				continue
			}
			errs = append(errs, refusal(row, r.Interval))
			f.Agents = append(f.Agents, agent(row))
			f.Fleet = fmt.Sprintf("%s sidecars with %s series each, every %s",
				thousands(row.Fleet.Targets), thousands(row.Fleet.Series), seconds(r.Interval))
			f.Windows = fmt.Sprintf("%d windows of %.0f s after %s", len(row.Windows),
				row.Median(func(w runner.Window) float64 { return w.Seconds }), seconds(r.Warmup))
			for _, w := range row.Windows {
				noise = max(noise, w.Noise())
			}
		}
	}
	f.Others = fmt.Sprintf("%.2f", noise)
	var names []string
	for _, a := range f.Agents {
		names = append(names, a.Name)
	}
	for _, name := range need {
		if !has(f.Agents, name) {
			errs = append(errs, fmt.Errorf("agent %s is missing", name))
		}
	}
	f.Command = fmt.Sprintf("make bench FLEET=%s AGENTS=%s", shape, strings.Join(names, ","))
	return f, errors.Join(errs...)
}

// refusal says why documents should not show a row: the pages have another form than usual, the windows are few, or
// samples are missing.
func refusal(row runner.Row, interval string) error {
	usual := fleet.DefaultConfig()
	usual.Targets, usual.Series = row.Fleet.Targets, row.Fleet.Series
	usual.Base, usual.OneAddress = row.Fleet.Base, row.Fleet.OneAddress
	if row.Fleet != usual {
		return fmt.Errorf("%s: the fleet was changed by BENCH_FLAGS", row.Name)
	}
	if n, s := len(row.Windows), row.Median(func(w runner.Window) float64 { return w.Seconds }); n < 3 || s < 30 {
		return fmt.Errorf("%s: %d windows of %.0f s, want at least 3 of 30 s: set DURATION=3m or more", row.Name, n, s)
	}
	if row.Peer {
		return nil // vmagent does not sort labels, which counts as a violation
	}
	return runner.Report{Rows: []runner.Row{row}, Interval: interval}.Complete()
}

func agent(row runner.Row) Agent {
	mib := func(of func(runner.Window) int64) float64 {
		return row.Median(func(w runner.Window) float64 { return float64(of(w)) }) / (1 << 20)
	}
	a := Agent{
		Name: row.Name, Title: titles[row.Name],
		CPU:          row.Median(func(w runner.Window) float64 { return w.CPUPerMillion }),
		WarmupCPU:    row.WarmupCPU,
		AnonymousMiB: mib(func(w runner.Window) int64 { return w.AnonymousMedian }),
		FilesMiB:     mib(func(w runner.Window) int64 { return w.FileMedian }),
		RSSMiB:       mib(func(w runner.Window) int64 { return w.RSSMedian }),
		PeakMiB:      float64(row.Final.Peak) / (1 << 20),
		WireBytes:    row.Median(func(w runner.Window) float64 { return w.WirePerSample }),
		Delivered:    row.Median(func(w runner.Window) float64 { return w.DeliveredPerDue }),
		Lost:         row.Lost, FailedScrapes: row.FailedScrapes, FirstSeconds: row.FirstRequest,
		LearnedCPU: row.Learning.CPU, LearnCPU: row.Learning.LearnCPU(),
	}
	for _, f := range runner.CountFigures() {
		a.Counts = append(a.Counts, f.Cell(row.Windows))
	}
	a.BytesPerSeries = a.RSSMiB * (1 << 20) / float64(max(1, row.Fleet.Targets*row.Fleet.Series))
	for i, w := range row.Windows {
		if i == 0 {
			a.CPULow, a.CPUHigh = w.CPUPerMillion, w.CPUPerMillion
		}
		a.CPULow, a.CPUHigh = min(a.CPULow, w.CPUPerMillion), max(a.CPUHigh, w.CPUPerMillion)
	}
	return a
}

func has(agents []Agent, name string) bool {
	for _, a := range agents {
		if a.Name == name {
			return true
		}
	}
	return false
}

// seconds writes a duration as prose has it: 10 s, not 10s.
func seconds(d string) string {
	if n, ok := strings.CutSuffix(d, "s"); ok && !strings.ContainsAny(n, "hm") {
		return n + " s"
	}
	return d
}
