package web

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
	"github.com/envoy-scraper/envoy-scraper/internal/history"
)

// The box of a line, in units of its picture. A value has one unit of width.
const (
	sparkWidth  = history.Points
	sparkHeight = 40
	sparkMargin = 2 // above the largest value and below 0, so that the line is not cut
)

// spark is the last hour of a number: a line, and its figures as text for those who do not see it.
type spark struct {
	Name           string
	Last, Min, Max string // the figures; Last is "–" if the number is not known now
	Known          bool   // there is a figure
	Line           string // path of the line; its gaps are times without a figure
	Area           string // path of what is below the line
}

// sparkForms says how each quantity is shown.
var sparkForms = map[history.Quantity]struct {
	name   string
	format func(float64) string
}{
	history.Samples:      {"Samples per second", amount},
	history.BytesRead:    {"Read per second", func(v float64) string { return show.Bytes(int64(v)) }},
	history.BytesWritten: {"Sent per second", func(v float64) string { return show.Bytes(int64(v)) }},
	history.Backlog:      {"Samples queued", amount},
	history.Failures:     {"Failed scrapes per minute", amount},
	history.Duration: {"Mean duration of a scrape", func(v float64) string {
		return show.Brief(time.Duration(v * float64(time.Second)))
	}},
}

func sparks(lines []history.Line) []spark {
	out := make([]spark, 0, len(lines))
	for _, l := range lines {
		out = append(out, newSpark(l))
	}
	return out
}

func newSpark(l history.Line) spark {
	form := sparkForms[l.Quantity]
	s := spark{Name: form.name, Last: "–"}
	least, most := math.Inf(1), math.Inf(-1)
	for _, v := range l.Values {
		if !math.IsNaN(v) {
			least, most, s.Known = min(least, v), max(most, v), true
		}
	}
	if !s.Known {
		return s
	}
	s.Min, s.Max = form.format(least), form.format(most)
	if last := l.Values[len(l.Values)-1]; !math.IsNaN(last) {
		s.Last = form.format(last)
	}
	s.Line, s.Area = paths(l.Values, most)
	return s
}

// paths returns the path of a line and of the area below it. The newest value is at the right edge, 0 at the bottom.
func paths(values []float64, most float64) (line, area string) {
	var l, a strings.Builder
	left := sparkWidth - len(values)
	scale := (sparkHeight - 2*sparkMargin) / max(most, math.SmallestNonzeroFloat64)
	if most <= 0 {
		scale = 0
	}
	for i := 0; i < len(values); {
		if math.IsNaN(values[i]) {
			i++
			continue
		}
		begin := i
		for command := 'M'; i < len(values) && !math.IsNaN(values[i]); i, command = i+1, 'L' {
			fmt.Fprintf(&l, "%c%d %.1f", command, left+i, sparkHeight-sparkMargin-values[i]*scale)
			if command == 'M' {
				fmt.Fprintf(&a, "M%d %d", left+i, sparkHeight)
			}
			fmt.Fprintf(&a, "L%d %.1f", left+i, sparkHeight-sparkMargin-values[i]*scale)
		}
		fmt.Fprintf(&a, "L%d %dZ", left+i-1, sparkHeight)
		if i-begin == 1 {
			l.WriteString("h.1") // a single value is a dot
		}
	}
	return l.String(), a.String()
}

// amount formats a number of any size with about three digits: 0.25, 8.3, 412, 12,345.
func amount(v float64) string {
	switch {
	case v == 0 || v >= 100:
		return show.Count(int64(math.Round(v)))
	case v >= 10:
		return fmt.Sprintf("%.0f", v)
	case v >= 1:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
