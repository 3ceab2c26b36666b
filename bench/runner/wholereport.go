package runner

import (
	"fmt"
	"io"
	"strings"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
)

// WholeReport says what each way needs, agent and store together.
type WholeReport struct {
	Report
	Fleet    fleet.Config `json:"fleet"`
	Receiver string       `json:"receiver"` // version of the store
	Ways     []WholeRow   `json:"ways"`
}

// WholeRow is one way's result.
type WholeRow struct {
	Name    string        `json:"name"`
	Build   string        `json:"build,omitempty"` // of the agent
	Peer    bool          `json:"peer"`            // the agent is not ours
	Scrapes int           `json:"scrapes"`         // batch_send_deadline in intervals; 0: the default
	Delay   string        `json:"delay,omitempty"` // batch_send_deadline; empty: the default
	Windows []WholeWindow `json:"windows"`
	Account Stored        `json:"account"`
}

func newWholeReport(c WholeConfig) WholeReport {
	return WholeReport{
		Report: newReport(c.Config), Fleet: c.Fleet, Receiver: build(c.Config, Case{Agent: c.Store}),
	}
}

func newWholeRow(c WholeConfig, w Way) WholeRow {
	row := WholeRow{Name: w.Name, Scrapes: w.Scrapes}
	if w.Agent != nil {
		row.Build, row.Peer = build(c.Config, c.caseOf(w)), w.Agent.Peer
	}
	if d := w.delay(c.Interval); d > 0 {
		row.Delay = d.String()
	}
	return row
}

// Median is the median of a figure over all windows.
func (r WholeRow) Median(of func(WholeWindow) float64) float64 { return medianOf(r.Windows, of) }

// Range returns the smallest and the largest value of all windows.
func (r WholeRow) Range(of func(WholeWindow) float64) (low, high float64) {
	return rangeOf(r.Windows, of)
}

// StoredPerDue is the share of the due samples that were stored in all windows together.
func (r WholeRow) StoredPerDue() float64 {
	return deliveredPerDue(r.Windows, func(w WholeWindow) Window { return w.Window })
}

// Rejected is the number of samples that the store rejected in all windows together.
func (r WholeRow) Rejected() (n uint64) {
	for _, w := range r.Windows {
		n += w.Rejected
	}
	return n
}

// AgainstDirect is a figure of a way divided by the store's CPU when it scrapes by itself; 0: that was not measured.
func (r WholeReport) AgainstDirect(value float64) float64 {
	for _, row := range r.Ways {
		if row.Name == Direct {
			return ratio(value, row.Median(WholeWindow.Both))
		}
	}
	return 0
}

// table has a way per line.
func (r WholeReport) table() [][]string {
	cells := [][]string{{
		"way", "agent CPU-s/M samples", "receiver", "both", "both from to", "receiver/direct", "both/direct",
		"wire B/sample", "stored/s", "stored/due", "rejected", "not stored", "RSS MiB", "anonymous MiB", "receiver MiB",
		"queue B/sample", "disk B/sample", "receiver disk B/sample", "others' cores",
	}}
	for _, row := range r.Ways {
		of := func(f func(WholeWindow) float64, form func(float64) string) string {
			return orDash(row.Median(f), form)
		}
		low, high := row.Range(WholeWindow.Both)
		_, noise := row.Range(func(w WholeWindow) float64 { return w.Noise() })
		cells = append(cells, []string{
			row.Name,
			of(agentCPU, digits(3)), of(receiverCPU, digits(3)), of(WholeWindow.Both, digits(3)),
			digits(3)(low) + " to " + digits(3)(high),
			orDash(r.AgainstDirect(row.Median(receiverCPU)), digits(2)),
			orDash(r.AgainstDirect(row.Median(WholeWindow.Both)), digits(2)),
			of(func(w WholeWindow) float64 { return w.WirePerSample }, digits(1)),
			of(WholeWindow.StoredPerSecond, digits(0)), digits(4)(row.StoredPerDue()),
			fmt.Sprint(row.Rejected()), fmt.Sprint(row.Account.Lost()),
			of(func(w WholeWindow) float64 { return float64(w.RSSMedian) }, mibs),
			of(func(w WholeWindow) float64 { return float64(w.AnonymousMedian) }, mibs),
			of(func(w WholeWindow) float64 { return float64(w.ReceiverRSSMedian) }, mibs),
			of(func(w WholeWindow) float64 { return w.QueuePerSample }, digits(1)),
			of(func(w WholeWindow) float64 { return w.DiskPerSample }, digits(1)),
			of(func(w WholeWindow) float64 { return w.ReceiverDisk }, digits(1)),
			digits(2)(noise),
		})
	}
	return cells
}

func agentCPU(w WholeWindow) float64    { return w.CPUPerMillion }
func receiverCPU(w WholeWindow) float64 { return w.ReceiverPerMillion }

// orDash writes a dash for a figure that does not exist.
func orDash(v float64, form func(float64) string) string {
	if v == 0 {
		return "-"
	}
	return form(v)
}

func (r WholeReport) head() []string {
	lines := append(r.Report.head(), describe(r.Fleet)+"; every "+r.Interval, "receiver: "+r.Receiver)
	for _, row := range r.Ways {
		lines = append(lines, row.head(r.Warmup))
	}
	return lines
}

func (r WholeRow) head(warmup string) string {
	var parts []string
	if r.Build != "" {
		parts = append(parts, r.Build)
	}
	if r.Delay != "" {
		parts = append(parts, "batch_send_deadline "+r.Delay)
	}
	if r.Account.Remark != "" {
		parts = append(parts, r.Account.Remark)
	}
	if len(r.Windows) > 0 {
		parts = append(parts, fmt.Sprintf("%d windows of %.0f s", len(r.Windows),
			r.Median(func(w WholeWindow) float64 { return w.Seconds })))
	}
	parts = append(parts, "after "+warmup,
		fmt.Sprintf("served %d page samples, stored %d of them", r.Account.Served, r.Account.Stored))
	return r.Name + ": " + strings.Join(parts, "; ")
}

// WriteText prints the report for a terminal.
func (r WholeReport) WriteText(w io.Writer) error { return writeTextTable(w, r.head(), r.table()) }

// WriteMarkdown prints the report for a document.
func (r WholeReport) WriteMarkdown(w io.Writer) error {
	return writeMarkdownTable(w, r.head(), r.table())
}

// WriteJSON keeps everything, each window included.
func (r WholeReport) WriteJSON(w io.Writer) error { return writeJSON(w, r) }
