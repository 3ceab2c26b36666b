package publish

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/envoy-scraper/envoy-scraper/bench/runner"
)

// shortTable is README's: the note, then an agent a row with the figures that decide.
func (f Figures) shortTable() string {
	var b strings.Builder
	if f.Note != "" {
		b.WriteString(wrap(f.Note, 120) + "\n\n")
		f.Note = ""
	}
	b.WriteString("| | CPU seconds per million samples | anonymous memory | resident memory (RSS)" +
		" | sent, bytes per sample | lost samples |\n")
	b.WriteString("|---|---|---|---|---|---|\n")
	for _, a := range f.Agents {
		fmt.Fprintf(&b, "| %s | %s | %s MiB | %s MiB | %s | %d |\n",
			a.Title, decimals(a.CPU, 2), mib(a.AnonymousMiB), mib(a.RSSMiB), decimals(a.WireBytes, 1), a.Lost)
	}
	b.WriteString("\n" + f.source("") + "\n")
	return b.String()
}

// fullTable is docs/performance.md's: a figure a row, an agent a column. If calls were counted, a second table has what
// a scrape costs.
func (f Figures) fullTable() string {
	var b strings.Builder
	line := func(name string, cell func(Agent) string) {
		cells, measured := "| "+name, false
		for _, a := range f.Agents {
			text := cell(a)
			cells, measured = cells+" | "+text, measured || text != "–"
		}
		if measured {
			b.WriteString(cells + " |\n")
		}
	}
	line("", func(a Agent) string { return a.Title })
	b.WriteString("|" + strings.Repeat("---|", len(f.Agents)+1) + "\n")
	line("CPU-s/M samples", func(a Agent) string { return decimals(a.CPU, 2) })
	line("lowest and highest window", func(a Agent) string {
		if a.CPULow == 0 {
			return "–"
		}
		return decimals(a.CPULow, 2) + " to " + decimals(a.CPUHigh, 2)
	})
	line("CPU beside the best peer's", func(a Agent) string { return share(a.CPU, f.bestPeer(cpu)) })
	line("warm-up CPU s", func(a Agent) string { return decimals(a.WarmupCPU, 1) })
	line("CPU s until all series were learned", func(a Agent) string { return decimals(a.LearnedCPU, 1) })
	line("of it more than known pages cost", func(a Agent) string { return decimals(a.LearnCPU, 1) })
	line("anonymous MiB", func(a Agent) string { return mib(a.AnonymousMiB) })
	line("anonymous beside the best peer's", func(a Agent) string {
		return share(a.AnonymousMiB, f.bestPeer(anonymous))
	})
	line("of files MiB", func(a Agent) string { return mib(a.FilesMiB) })
	line("RSS MiB", func(a Agent) string { return mib(a.RSSMiB) })
	line("RSS beside the best peer's", func(a Agent) string { return share(a.RSSMiB, f.bestPeer(rss)) })
	line("peak RSS MiB", func(a Agent) string { return mib(a.PeakMiB) })
	line("RSS bytes/series", func(a Agent) string { return decimals(a.BytesPerSeries, 0) })
	line("wire B/sample", func(a Agent) string { return decimals(a.WireBytes, 1) })
	line("delivered/due", func(a Agent) string { return decimals(a.Delivered, 3) })
	line("lost", func(a Agent) string { return fmt.Sprint(a.Lost) })
	line("failed scrapes", func(a Agent) string { return fmt.Sprint(a.FailedScrapes) })
	line("first s", func(a Agent) string { return decimals(a.FirstSeconds, 1) })
	b.WriteString(f.countsTable())
	b.WriteString("\n" + f.source("Other programs used at most "+f.Others+" cores in a window.") + "\n")
	return b.String()
}

// countsTable is what each agent asks of the kernel for a scrape; empty if an agent's calls were not counted.
func (f Figures) countsTable() string {
	var b strings.Builder
	b.WriteString("\n| for each scrape (per second)")
	for _, a := range f.Agents {
		b.WriteString(" | " + a.Title)
	}
	b.WriteString(" |\n|" + strings.Repeat("---|", len(f.Agents)+1) + "\n")
	for i, figure := range runner.CountFigures() {
		b.WriteString("| " + figure.Name)
		for _, a := range f.Agents {
			if i >= len(a.Counts) {
				return ""
			}
			b.WriteString(" | " + a.Counts[i])
		}
		b.WriteString(" |\n")
	}
	return b.String()
}

// source says what was measured, and how to measure it again. more is a sentence at the end.
func (f Figures) source(more string) string {
	text := fmt.Sprintf("%s; %s. Commit %s, %s, %s. Measure it again: `%s`.",
		f.Fleet, f.Windows, f.Commit, f.Machine, f.Date, f.Command)
	return wrap(text+" "+f.Note+" "+more, 120)
}

func cpu(a Agent) float64       { return a.CPU }
func anonymous(a Agent) float64 { return a.AnonymousMiB }
func rss(a Agent) float64       { return a.RSSMiB }

// bestPeer is the least that a program which is not ours needs; 0: there is none.
func (f Figures) bestPeer(of func(Agent) float64) float64 {
	best := math.Inf(1)
	for _, a := range f.Agents {
		if v := of(a); !a.ours() && v > 0 {
			best = min(best, v)
		}
	}
	if math.IsInf(best, 1) {
		return 0
	}
	return best
}

func (a Agent) ours() bool { return strings.HasPrefix(a.Name, "envoy-scraper") }

// share writes v beside the best as 1/9.4, 1 or 14.
func share(v, best float64) string {
	switch ratio := v / best; {
	case v == 0 || best == 0:
		return "–"
	case ratio < 0.95:
		return fmt.Sprintf("1/%.1f", 1/ratio)
	case ratio < 10:
		return strings.TrimSuffix(decimals(ratio, 1), ".0")
	default:
		return decimals(ratio, 0)
	}
}

func decimals(v float64, n int) string {
	if v == 0 {
		return "–"
	}
	return strconv.FormatFloat(v, 'f', n, 64)
}

// mib writes 23.5, 84 and 1,199: three digits are as many as differ from run to run.
func mib(v float64) string {
	switch {
	case v == 0:
		return "–"
	case v < 99.95:
		return decimals(v, 1)
	default:
		return thousands(int(math.Round(v)))
	}
}

func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// wrap breaks text at spaces, so that no line is longer than width.
func wrap(text string, width int) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case column == 0:
		case column+1+len(word) > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
