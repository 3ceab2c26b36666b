package runner

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/receiver"
)

// Report is the result of a run, ready to be printed or kept as JSON.
type Report struct {
	Date     string     `json:"date"`
	Command  string     `json:"command"`
	Machine  string     `json:"machine"`
	Cores    int        `json:"cores"`
	Interval string     `json:"interval"`
	Warmup   string     `json:"warmup"`
	Checks   bool       `json:"receiver_checks"`
	Rows     []Row      `json:"rows"`
	Peers    Comparison `json:"peers"`
	Remarks  []string   `json:"remarks,omitempty"`
}

func newReport(c Config) Report {
	return Report{
		Date:    time.Now().UTC().Format(time.RFC3339),
		Command: strings.Join(append([]string{"bench"}, os.Args[1:]...), " "),
		Machine: fmt.Sprintf("%s %s/%s", cpuModel(), runtime.GOOS, runtime.GOARCH), Cores: runtime.NumCPU(),
		Interval: c.Interval.String(), Warmup: c.Warmup.String(), Checks: c.Checks,
	}
}

// Row is one case's result.
type Row struct {
	Name           string         `json:"name"`
	Agent          string         `json:"agent"`
	Peer           bool           `json:"peer"`
	Tuned          bool           `json:"tuned"` // other than its default settings
	Build          string         `json:"build"` // version of its program, and with what it was built
	Fleet          fleet.Config   `json:"fleet"`
	Windows        []Window       `json:"windows"`
	Served         fleet.Stats    `json:"served"`   // whole life, after the drain
	Received       receiver.Stats `json:"received"` // whole life, after the drain
	Lost           int64          `json:"lost"`     // page samples that were served and never arrived
	WarmupFailed   uint64         `json:"warmup_failed_scrapes"`
	WarmupCPU      float64        `json:"warmup_cpu_seconds"` // from the agent's start to the first window
	Learning       Learning       `json:"learning"`
	Calls          []Call         `json:"system_calls,omitempty"` // by name, the most frequent first
	Final          usage          `json:"final"`                  // after the drain; peak: of its whole life
	FailedScrapes  uint64         `json:"failed_scrapes"`         // after the warm-up
	FirstRequest   float64        `json:"first_request_seconds"`  // after the agent's start
	StopSeconds    float64        `json:"stop_seconds"`
	DistinctSeries int            `json:"distinct_series"`
	Remarks        []string       `json:"remarks,omitempty"`
}

func newRow(c Config, k Case) Row {
	return Row{
		Name: k.Name, Agent: k.Agent.Name, Peer: k.Agent.Peer, Tuned: k.Agent.Tuned, Fleet: k.Fleet, Build: build(c, k),
	}
}

// build returns the version of the case's program and of its compiler.
func build(c Config, k Case) string {
	info, err := buildinfo.ReadFile(c.program(k))
	if err != nil {
		return c.Build
	}
	version := info.Main.Path + " " + info.Main.Version
	if !k.Agent.Peer && c.Build != "" {
		version = c.Build
	}
	version += " " + info.GoVersion
	for _, s := range info.Settings {
		if s.Key == "CGO_ENABLED" && s.Value == "1" {
			version += " with cgo"
		}
	}
	return version
}

// Median is the median of a figure over all windows.
func (r Row) Median(of func(Window) float64) float64 { return medianOf(r.Windows, of) }

// spread returns the smallest and the largest value of all windows.
func (r Row) spread(of func(Window) float64) (low, high float64) { return rangeOf(r.Windows, of) }

// delivered returns the share of the due samples that arrived, in all windows together.
func (r Row) delivered() float64 {
	return deliveredPerDue(r.Windows, func(w Window) Window { return w })
}

// medianOf returns the median of a figure over windows.
func medianOf[W any](windows []W, of func(W) float64) float64 {
	var values []float64
	for _, w := range windows {
		values = append(values, of(w))
	}
	return median(values)
}

// rangeOf returns the smallest and the largest value of a figure over windows.
func rangeOf[W any](windows []W, of func(W) float64) (low, high float64) {
	for i, w := range windows {
		v := of(w)
		if i == 0 {
			low, high = v, v
		}
		low, high = min(low, v), max(high, v)
	}
	return low, high
}

// deliveredPerDue returns the share of the due samples that arrived, in all windows together.
func deliveredPerDue[W any](windows []W, of func(W) Window) float64 {
	var share, seconds float64
	for i := range windows {
		w := of(windows[i])
		share += w.DeliveredPerDue * w.Seconds
		seconds += w.Seconds
	}
	return ratio(share, seconds)
}

// Complete returns nil if every row delivered all samples that were due.
// Otherwise the error names the rows and the missing samples.
func (r Report) Complete() error {
	var errs []error
	for _, row := range r.Rows {
		if d := row.delivered(); d < 1-row.atTheEdges(r.Interval) {
			errs = append(errs, fmt.Errorf("%s: delivered %.4f of what was due", row.Name, d))
		}
		// A page can be served whole and yet come too late for the agent: then its samples are no loss on the way.
		early := int64(row.WarmupFailed) * int64(row.Served.Series)
		if row.Lost > early || row.FailedScrapes != 0 || row.Received.ViolationsTotal != 0 {
			errs = append(errs, fmt.Errorf("%s: %d samples served but not received (%d in scrapes that failed in the "+
				"warm-up), %d scrapes failed later, %d violations",
				row.Name, row.Lost, min(row.Lost, early), row.FailedScrapes, row.Received.ViolationsTotal))
		}
	}
	return errors.Join(errs...)
}

// atTheEdges returns the share of the due samples that windows may lack because they cut requests in two. An agent with
// few targets may scrape all of them at once, so there it is one scrape of each.
func (r Row) atTheEdges(interval string) float64 {
	const usual, few = 0.005, 100
	every, err := time.ParseDuration(interval)
	if err != nil || r.Fleet.Targets >= few {
		return usual
	}
	var seconds float64
	for _, w := range r.Windows {
		seconds += w.Seconds
	}
	return max(usual, ratio(every.Seconds(), seconds))
}

// describe returns a short description of a fleet.
func describe(f fleet.Config) string {
	text := fmt.Sprintf("%d targets x %d series, %d replicas per workload, %.0f %% of the values moving, "+
		"%.0f %% of the series replaced per scrape",
		f.Targets, f.Series, f.Replicas, f.Moving*100, f.Churn*100)
	if f.Replicas == 1 {
		text = strings.Replace(text, "1 replicas per workload", "no two of one workload", 1)
	}
	if extra := f.Page.String(); extra != "" {
		text += ", " + extra
	}
	return text
}

// head returns the lines above the table: fleet, machine, command, and one line for each row.
func (r Report) head() []string {
	var lines []string
	for _, row := range r.Rows {
		if line := describe(row.Fleet) + "; every " + r.Interval; !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	lines = append(lines, fmt.Sprintf("%s, %d cores (%s)", r.Date, r.Cores, r.Machine), "command: "+r.Command)
	for _, row := range r.Rows {
		lines = append(lines, row.head(r.Warmup))
		problems := row.Received.Problems
		for _, p := range slices.Concat(row.Remarks, problems[:min(3, len(problems))]) {
			lines = append(lines, row.Name+": "+p)
		}
	}
	return append(lines, r.Remarks...)
}

func (r Row) head(warmup string) string {
	violations := ""
	if kinds := r.Received.Kinds(); kinds != "" {
		violations = "; violations: " + kinds
	}
	return fmt.Sprintf("%s: %s; %d windows of %.0f s after %s; page %d bytes per sample; "+
		"served %d samples in %d scrapes (each target %s times), "+
		"received %d (%d markers, %d synthetic) of %d series in %d + %d requests (1.0 + 2.0)%s; "+
		"at the end %.1f MiB (%.1f anonymous, %.1f of files), %d threads, %d descriptors; stopped in %.1f s",
		r.Name, r.Build, len(r.Windows), r.Median(func(w Window) float64 { return w.Seconds }), warmup,
		r.Served.PageMean/max(1, r.Served.Series), r.Served.Samples, r.Served.Scrapes, span(r.Served.PerTarget),
		r.Received.Samples, r.Received.Stale,
		r.Received.Synthetic, r.DistinctSeries, r.Received.Requests1, r.Received.Requests2, violations,
		mib(r.Final.Resident), mib(r.Final.Anonymous), mib(r.Final.FileBacked),
		r.Final.Threads, r.Final.Descriptors, r.StopSeconds)
}

// span returns the smallest and the largest of the numbers.
func span(n []uint64) string {
	if len(n) == 0 {
		return "?"
	}
	return fmt.Sprintf("%d to %d", slices.Min(n), slices.Max(n))
}

// WriteText prints the report for a terminal.
func (r Report) WriteText(w io.Writer) error { return writeTextTable(w, r.head(), r.table()) }

// WriteMarkdown prints the report for a document.
func (r Report) WriteMarkdown(w io.Writer) error { return writeMarkdownTable(w, r.head(), r.table()) }

// WriteJSON keeps everything, each window included.
func (r Report) WriteJSON(w io.Writer) error { return writeJSON(w, r) }
