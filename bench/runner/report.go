package runner

import (
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/receiver"
)

// Report is the result of a run, ready to be printed or kept as JSON.
type Report struct {
	Date     string       `json:"date"`
	Command  string       `json:"command"`
	Machine  string       `json:"machine"`
	Cores    int          `json:"cores"`
	Fleet    fleet.Config `json:"fleet"`
	Interval string       `json:"interval"`
	Warmup   string       `json:"warmup"`
	Checks   bool         `json:"receiver_checks"`
	Rows     []Row        `json:"rows"`
}

func newReport(c Config) Report {
	return Report{
		Date: time.Now().UTC().Format(time.RFC3339), Command: strings.Join(append([]string{"bench"}, os.Args[1:]...), " "),
		Machine: fmt.Sprintf("%s %s/%s", cpuModel(), runtime.GOOS, runtime.GOARCH), Cores: runtime.NumCPU(),
		Fleet: c.Fleet, Interval: c.Interval.String(), Warmup: c.Warmup.String(), Checks: c.Checks,
	}
}

// Row is one agent's result.
type Row struct {
	Agent          string         `json:"agent"`
	Build          string         `json:"build"` // Go version and commit of its program
	Windows        []Window       `json:"windows"`
	Served         fleet.Stats    `json:"served"`   // whole life, after the drain
	Received       receiver.Stats `json:"received"` // whole life, after the drain
	Lost           int64          `json:"lost"`     // page samples that were served and never arrived
	WarmupFailed   uint64         `json:"warmup_failed_scrapes"`
	WarmupCPU      float64        `json:"warmup_cpu_seconds"`    // from the agent's start to the first window
	PeakRSS        int64          `json:"peak_rss_bytes"`        // of its whole life, as the kernel saw it
	FailedScrapes  uint64         `json:"failed_scrapes"`        // after the warm-up
	FirstRequest   float64        `json:"first_request_seconds"` // after the agent's start
	StopSeconds    float64        `json:"stop_seconds"`
	DistinctSeries int            `json:"distinct_series"`
	Remarks        []string       `json:"remarks,omitempty"`
}

func newRow(c Config, a Agent, program string) Row {
	r := Row{Agent: a.Name, Build: c.Build}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return r
	}
	r.Build = strings.TrimSpace(c.Build + " " + info.GoVersion)
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			r.Build += " " + s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			r.Build += " (modified)"
		}
	}
	return r
}

func (r Row) median(of func(Window) float64) float64 {
	var values []float64
	for _, w := range r.Windows {
		values = append(values, of(w))
	}
	return median(values)
}

// delivered is the share of what was due in all windows together.
func (r Row) delivered() float64 {
	var share, seconds float64
	for _, w := range r.Windows {
		share += w.DeliveredPerDue * w.Seconds
		seconds += w.Seconds
	}
	return ratio(share, seconds)
}

// Complete is nil if every row delivered everything that was due, as a sender
// must: an error says which did not, and what is missing.
func (r Report) Complete() error {
	var errs []error
	for _, row := range r.Rows {
		// Windows cut requests in two, so their share is exact to a fraction of one scrape only.
		if d := row.delivered(); d < 0.995 {
			errs = append(errs, fmt.Errorf("%s: delivered %.4f of what was due", row.Agent, d))
		}
		// A page can be served whole and yet come too late for the agent: then its samples are no loss on the way.
		early := int64(row.WarmupFailed) * int64(row.Served.Series)
		if row.Lost > early || row.FailedScrapes != 0 || row.Received.ViolationsTotal != 0 {
			errs = append(errs, fmt.Errorf("%s: %d samples served but not received (%d in scrapes that failed in the warm-up), %d scrapes failed later, %d violations",
				row.Agent, row.Lost, min(row.Lost, early), row.FailedScrapes, row.Received.ViolationsTotal))
		}
	}
	return errors.Join(errs...)
}

// table is the report as cells, the head first.
func (r Report) table() [][]string {
	cells := [][]string{{
		"agent", "CPU-s/M samples", "vs first", "cores", "warm-up CPU s", "RSS MiB", "peak MiB", "bytes/series", "wire B/sample",
		"delivered/due", "lost", "failed in warm-up", "failed scrapes", "violations", "first s", "fleet cores", "receiver cores", "others' cores",
	}}
	f := func(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }
	series := float64(r.Fleet.Targets * r.Fleet.Series)
	var first float64
	for i, row := range r.Rows {
		cpu := row.median(func(w Window) float64 { return w.CPUPerMillion })
		if i == 0 {
			first = cpu
		}
		rss := row.median(func(w Window) float64 { return float64(w.RSSMedian) })
		checked := []string{"-", "-", "-", "-"} // what the null mode cannot tell
		if r.Checks {
			checked = []string{fmt.Sprint(row.Lost), fmt.Sprint(row.WarmupFailed), fmt.Sprint(row.FailedScrapes), fmt.Sprint(row.Received.ViolationsTotal)}
		}
		cells = append(cells, []string{
			row.Agent, f(cpu, 2), f(ratio(cpu, first), 2) + "x", f(row.median(func(w Window) float64 { return w.CPUCores }), 3),
			f(row.WarmupCPU, 1), f(rss/(1<<20), 1), f(mib(row.PeakRSS), 1), f(rss/series, 0),
			f(row.median(func(w Window) float64 { return w.WirePerSample }), 1), f(row.delivered(), 4),
			checked[0], checked[1], checked[2], checked[3],
			f(row.FirstRequest, 1), f(row.median(func(w Window) float64 { return w.FleetCores }), 3),
			f(row.median(func(w Window) float64 { return w.ReceiverCores }), 3),
			f(row.median(func(w Window) float64 { return w.OtherCores + w.StolenCores }), 2),
		})
	}
	return cells
}

// head says what was measured where, one fact a line.
func (r Report) head() []string {
	lines := []string{
		fmt.Sprintf("%d targets x %d series every %s, %d replicas a workload, %.0f %% of the values moving, %.0f %% of the series replaced a scrape",
			r.Fleet.Targets, r.Fleet.Series, r.Interval, r.Fleet.Replicas, r.Fleet.Moving*100, r.Fleet.Churn*100),
		fmt.Sprintf("%s, %d cores (%s)", r.Date, r.Cores, r.Machine),
		"command: " + r.Command,
	}
	for _, row := range r.Rows {
		lines = append(lines, fmt.Sprintf("%s: %s; %d windows of %.0f s after %s; page %d bytes a sample; served %d samples in %d scrapes (each target %s times), received %d (%d markers, %d synthetic) of %d series in %d + %d requests (1.0 + 2.0); stopped in %.1f s",
			row.Agent, row.Build, len(row.Windows), row.median(func(w Window) float64 { return w.Seconds }), r.Warmup,
			row.Served.PageMean/max(1, row.Served.Series), row.Served.Samples, row.Served.Scrapes, span(row.Served.PerTarget), row.Received.Samples, row.Received.Stale,
			row.Received.Synthetic, row.DistinctSeries, row.Received.Requests1, row.Received.Requests2, row.StopSeconds))
		for _, p := range append(row.Remarks, row.Received.Problems...) {
			lines = append(lines, row.Agent+": "+p)
		}
	}
	return lines
}

// span is the smallest and the largest of the numbers.
func span(n []uint64) string {
	if len(n) == 0 {
		return "?"
	}
	return fmt.Sprintf("%d to %d", slices.Min(n), slices.Max(n))
}

// WriteText prints the report for a terminal.
func (r Report) WriteText(w io.Writer) error {
	for _, line := range r.head() {
		_, _ = fmt.Fprintln(w, line) // the flush below reports what a broken writer does
	}
	// Few agents, many figures: a line a figure reads better than a wide table.
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	cells := r.table()
	for column := range cells[0] {
		for _, row := range cells {
			_, _ = fmt.Fprint(t, row[column], "\t")
		}
		_, _ = fmt.Fprintln(t)
	}
	return t.Flush()
}

// WriteMarkdown prints the report for a document.
func (r Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	cells := r.table()
	for i, row := range cells {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString("|" + strings.Repeat("---|", len(row)) + "\n")
		}
	}
	b.WriteString("\n")
	for _, line := range r.head() {
		b.WriteString("- " + line + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON keeps everything, each window included.
func (r Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
