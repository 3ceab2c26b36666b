package runner

import (
	"fmt"
	"io"
	"slices"
)

// SidecarReport says what each way costs a real Envoy, the agent and the store.
type SidecarReport struct {
	Report
	Keep     string       `json:"keep"`
	Receiver string       `json:"receiver"` // version of the store
	Targets  int          `json:"targets"`
	Rest     string       `json:"rest"`   // before each page of Rested
	Pages    SidecarPages `json:"pages"`  // one at once after the other
	Rested   SidecarPages `json:"rested"` // each after a rest
	Ways     []SidecarRow `json:"ways"`
}

// SidecarPages are pages that were asked for in turns, without an agent: first the whole one.
type SidecarPages []SidecarPage

// SidecarPage is a kind of page.
type SidecarPage struct {
	Filter string    `json:"filter,omitempty"` // empty: the page is whole
	Lines  int       `json:"lines"`
	Bytes  int       `json:"bytes"`
	CPU    []float64 `json:"cpu_seconds"` // of Envoy, for each page
}

// lines describes each kind, with its CPU beside that of the whole page.
func (p SidecarPages) lines() (all []string) {
	for _, k := range p {
		name := "whole page"
		if k.Filter != "" {
			name = "filter " + k.Filter
		}
		all = append(all, fmt.Sprintf("%s: %d lines, %d bytes, %.2f ms of Envoy's CPU (median of %d in turns, from "+
			"%.2f to %.2f), ratio %.3f", name, k.Lines, k.Bytes, median(k.CPU)*1e3, len(k.CPU), slices.Min(k.CPU)*1e3,
			slices.Max(k.CPU)*1e3, ratio(median(k.CPU), median(p[0].CPU))))
	}
	return all
}

// SidecarRow is one way's result.
type SidecarRow struct {
	Name    string          `json:"name"`
	Build   string          `json:"build,omitempty"` // of the agent
	Windows []SidecarWindow `json:"windows"`
}

func newSidecarReport(c SidecarConfig) SidecarReport {
	r := SidecarReport{Report: newReport(c.Config), Keep: c.Keep, Targets: c.Targets, Rest: c.Rest.String(),
		Receiver: build(c.Config, Case{Agent: c.Store})}
	for _, w := range c.Ways {
		row := SidecarRow{Name: w.Name}
		if w.Agent != nil {
			row.Build = build(c.Config, c.caseOf(w))
		}
		r.Ways = append(r.Ways, row)
	}
	return r
}

func (r SidecarRow) median(of func(SidecarWindow) float64) float64 { return medianOf(r.Windows, of) }

// against divides a way's figure by that of another way in the same round, and returns the median of all rounds; 0:
// that way was not measured.
func (r SidecarReport) against(way string, row SidecarRow, of func(SidecarWindow) float64) float64 {
	var ratios []float64
	for _, other := range r.Ways {
		if other.Name != way {
			continue
		}
		for i := range min(len(row.Windows), len(other.Windows)) {
			ratios = append(ratios, ratio(of(row.Windows[i]), of(other.Windows[i])))
		}
	}
	return median(ratios)
}

// table has a way per line.
func (r SidecarReport) table() [][]string {
	cells := [][]string{{"way", "sidecar ms/page", "from to", "/direct", "/off", "sidecar CPU-s/M samples", "agent",
		"receiver", "all", "all/direct", "page KB", "wire B/sample", "pages", "samples stored", "others' cores"}}
	for _, row := range r.Ways {
		of := func(f func(SidecarWindow) float64, form func(float64) string) string {
			return orDash(row.median(f), form)
		}
		low, high := rangeOf(row.Windows, SidecarWindow.PerScrape)
		_, noise := rangeOf(row.Windows, func(w SidecarWindow) float64 { return w.Others })
		cells = append(cells, []string{
			row.Name, of(func(w SidecarWindow) float64 { return w.PerScrape() * 1e3 }, digits(2)),
			digits(2)(low*1e3) + " to " + digits(2)(high*1e3),
			orDash(r.against(Direct, row, SidecarWindow.PerScrape), digits(3)),
			orDash(r.against("envoy-scraper-off", row, SidecarWindow.PerScrape), digits(3)),
			of(func(w SidecarWindow) float64 { return w.perMillion(w.Sidecar) }, digits(2)),
			of(func(w SidecarWindow) float64 { return w.perMillion(w.Agent) }, digits(2)),
			of(func(w SidecarWindow) float64 { return w.perMillion(w.Receiver) }, digits(2)),
			of(SidecarWindow.All, digits(2)), orDash(r.against(Direct, row, SidecarWindow.All), digits(3)),
			of(func(w SidecarWindow) float64 { return ratio(w.Page, w.Scrapes) / 1e3 }, digits(1)),
			of(func(w SidecarWindow) float64 { return ratio(w.Sent, w.Stored) }, digits(1)),
			of(func(w SidecarWindow) float64 { return w.Scrapes }, digits(0)),
			of(func(w SidecarWindow) float64 { return w.Stored }, digits(0)), digits(2)(noise),
		})
	}
	return cells
}

func (r SidecarReport) head() []string {
	lines := append(append(r.Report.head(), "one page at once after the other:"), r.Pages.lines()...)
	lines = append(append(lines, "each page after a rest of "+r.Rest+":"), r.Rested.lines()...)
	lines = append(lines, fmt.Sprintf("one Envoy, %d times a target, every %s; the jobs keep %s", r.Targets, r.Interval,
		r.Keep), "receiver: "+r.Receiver)
	for _, row := range r.Ways {
		if row.Build != "" {
			lines = append(lines, row.Name+": "+row.Build)
		}
	}
	return lines
}

// WriteText prints the report for a terminal.
func (r SidecarReport) WriteText(w io.Writer) error { return writeTextTable(w, r.head(), r.table()) }

// WriteMarkdown prints the report for a document.
func (r SidecarReport) WriteMarkdown(w io.Writer) error {
	return writeMarkdownTable(w, r.head(), r.table())
}

// WriteJSON keeps everything, each window included.
func (r SidecarReport) WriteJSON(w io.Writer) error { return writeJSON(w, r) }
