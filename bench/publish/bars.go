package publish

import (
	"fmt"
	"strings"
)

// The picture's measures, in pixels.
const (
	barsWidth = 760
	nameWidth = 310
	barLength = 330 // of the largest value
	barHeight = 18
	barStep   = 28
)

// style makes a picture readable on a light and on a dark page.
const style = `  <style>
    text { font: 14px system-ui, sans-serif; fill: #1f2328 }
    .head { font-weight: 600 }
    .value { font-variant-numeric: tabular-nums }
    .ours { fill: #1a7f64 }
    .peer { fill: #8b949e }
    .files { opacity: 0.45 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .ours { fill: #3fb98f }
      .peer { fill: #6e7681 }
    }
  </style>
`

// bars is the picture of what the agents cost: processor time, then memory with the part of files in a pale tone.
func (f Figures) bars() string {
	var b strings.Builder
	height := 2 * (44 + barStep*len(f.Agents))
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d"`,
		barsWidth, height, barsWidth, height)
	fmt.Fprintf(&b, ` role="img" aria-labelledby="title">
  <title id="title">Processor time and memory of envoy-scraper, vmagent and Prometheus, commit %s</title>
`, f.Commit)
	b.WriteString(style)
	y := 22
	group := func(head string, value func(Agent) string, parts ...func(Agent) float64) {
		fmt.Fprintf(&b, "  <text class=\"head\" x=\"0\" y=\"%d\">%s</text>\n", y, head)
		y += 14
		most := 0.0
		for _, a := range f.Agents {
			most = max(most, sum(a, parts))
		}
		for _, a := range f.Agents {
			f.bar(&b, a, y, most, value(a), parts)
			y += barStep
		}
		y += 30
	}
	group("CPU seconds per million samples", func(a Agent) string { return decimals(a.CPU, 2) }, cpu)
	group("Memory, MiB: anonymous + pages of files (pale)", func(a Agent) string {
		return mib(a.AnonymousMiB) + " + " + mib(a.FilesMiB)
	}, anonymous, func(a Agent) float64 { return a.FilesMiB })
	b.WriteString("</svg>\n")
	return b.String()
}

// bar draws the row of one agent: its name, one bar of several parts, the value.
func (f Figures) bar(b *strings.Builder, a Agent, y int, most float64, value string, parts []func(Agent) float64) {
	class := "peer"
	if a.ours() {
		class = "ours"
	}
	fmt.Fprintf(b, "  <text x=\"0\" y=\"%d\">%s</text>\n", y+14, a.Title)
	x := float64(nameWidth)
	for i, part := range parts {
		length := part(a) / most * barLength
		of := class
		if i > 0 {
			of += " files"
		}
		length = max(length, 1) // visible
		fmt.Fprintf(b, `  <rect class="%s" x="%.1f" y="%d" width="%.1f" height="%d"/>`+"\n",
			of, x, y, length, barHeight)
		x += length
	}
	fmt.Fprintf(b, "  <text class=\"value\" x=\"%.1f\" y=\"%d\">%s</text>\n", x+8, y+14, value)
}

func sum(a Agent, parts []func(Agent) float64) float64 {
	total := 0.0
	for _, part := range parts {
		total += part(a)
	}
	return total
}
