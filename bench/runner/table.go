package runner

import (
	"fmt"
	"strconv"
)

// figure is one line of the table.
type figure struct {
	name  string
	value func(Row) float64
	form  func(float64) string
	key   string // names it in Comparison, where less of it is better; empty: peers are not compared in it
}

// figures returns the lines that hold one number for each row.
func figures() []figure {
	m := func(of func(Window) float64) func(Row) float64 { return func(r Row) float64 { return r.Median(of) } }
	bytes := func(of func(Window) int64) func(Row) float64 {
		return m(func(w Window) float64 { return float64(of(w)) })
	}
	return []figure{
		{"CPU-s/M samples", cpuPerMillion, digits(3), keyCPU},
		{"cores", m(func(w Window) float64 { return w.CPUCores }), digits(3), ""},
		{"warm-up CPU s", func(r Row) float64 { return r.WarmupCPU }, digits(1), "warmup_cpu_seconds"},
		{"until learned, s", func(r Row) float64 { return r.Learning.Seconds }, measuredDigits(1), ""},
		{"until learned, CPU s", func(r Row) float64 { return r.Learning.CPU }, measuredDigits(2),
			"until_learned_cpu_seconds"},
		{"  above known pages", func(r Row) float64 { return r.Learning.LearnCPU() }, measuredDigits(2),
			"learn_cpu_seconds"},
		{"warm-up peak anonymous MiB", func(r Row) float64 { return float64(r.Learning.PeakAnonymous) }, mibs,
			"warmup_peak_anonymous_bytes"},
		{"RSS MiB", residentBytes, mibs, keyRSS},
		{"anonymous MiB", bytes(func(w Window) int64 { return w.AnonymousMedian }), mibs, "rss_anonymous_bytes"},
		{"of files MiB", bytes(func(w Window) int64 { return w.FileMedian }), mibs, ""},
		{"peak MiB", func(r Row) float64 { return float64(r.Final.Peak) }, mibs, "peak_rss_bytes"},
		{"bytes/series", func(r Row) float64 {
			return residentBytes(r) / float64(r.Fleet.Targets*r.Fleet.Series)
		}, digits(0), ""},
		{"wire B/sample", m(func(w Window) float64 { return w.WirePerSample }), digits(1), "wire_bytes_per_sample"},
		{"first s", func(r Row) float64 { return r.FirstRequest }, digits(1), ""},
		{"threads", m(func(w Window) float64 { return float64(w.Threads) }), digits(0), ""},
		{"descriptors", m(func(w Window) float64 { return float64(w.Descriptors) }), digits(0), ""},
		{"fleet cores", m(func(w Window) float64 { return w.FleetCores }), digits(3), ""},
		{"receiver cores", m(func(w Window) float64 { return w.ReceiverCores }), digits(3), ""},
		{"others' cores", m(Window.Noise), digits(2), ""},
	}
}

func cpuPerMillion(r Row) float64 {
	return r.Median(func(w Window) float64 { return w.CPUPerMillion })
}

func residentBytes(r Row) float64 {
	return r.Median(func(w Window) float64 { return float64(w.RSSMedian) })
}

func digits(n int) func(float64) string {
	return func(v float64) string { return strconv.FormatFloat(v, 'f', n, 64) }
}

// measuredDigits is digits, and a dash for 0: not measured.
func measuredDigits(n int) func(float64) string {
	return func(v float64) string {
		if v == 0 {
			return "-"
		}
		return digits(n)(v)
	}
}

func mibs(v float64) string { return digits(1)(v / (1 << 20)) }

// table returns the report as lines of cells: one line for each figure, one
// column for each row of the report, since there are few agents and many
// figures. If the run has peers, the last two columns are the best peers'.
func (r Report) table() [][]string {
	peers := len(r.Peers.Default)+len(r.Peers.Any) > 0
	head := []string{"figure"}
	for _, row := range r.Rows {
		head = append(head, row.Name)
	}
	if peers {
		head = append(head, "best default peer", "best peer")
	}
	lines := [][]string{head}
	add := func(name string, cell func(Row) string, best ...string) {
		line := []string{name}
		for _, row := range r.Rows {
			line = append(line, cell(row))
		}
		if peers {
			line = append(append(line, best...), make([]string, 2-len(best))...)
		}
		lines = append(lines, line)
	}
	for _, f := range figures() {
		var best []string
		if f.key != "" {
			best = []string{bestCell(r.Peers.Default, f), bestCell(r.Peers.Any, f)}
		}
		add(f.name, func(row Row) string { return f.form(f.value(row)) }, best...)
		switch f.key {
		case keyCPU:
			add("  from to", func(row Row) string {
				low, high := row.spread(func(w Window) float64 { return w.CPUPerMillion })
				return digits(3)(low) + " to " + digits(3)(high)
			})
			add("  of the first row's", func(row Row) string { return share(ratio(f.value(row), f.value(r.Rows[0]))) })
			r.addRatios(add, f)
		case keyRSS:
			r.addRatios(add, f)
		case "wire_bytes_per_sample":
			r.addDelivery(add)
		}
		if f.name == "others' cores" {
			add("  at most", func(row Row) string {
				_, high := row.spread(Window.Noise)
				return digits(2)(high)
			})
		}
	}
	for _, f := range CountFigures() {
		add(f.Name+"/scrape", func(row Row) string { return f.Cell(row.Windows) })
	}
	for _, name := range callNames(r.Rows) {
		add("strace: "+name, func(row Row) string { return row.callCell(name) })
	}
	return lines
}

type addLine func(name string, cell func(Row) string, best ...string)

// addRatios compares each row with the best peers.
func (r Report) addRatios(add addLine, f figure) {
	for _, c := range []struct {
		name string
		best map[string]Best
	}{{"  of the best default peer's", r.Peers.Default}, {"  of the best peer's", r.Peers.Any}} {
		if best, ok := c.best[f.key]; ok {
			add(c.name, func(row Row) string { return share(ratio(f.value(row), best.Value)) })
		}
	}
}

// addDelivery adds the lines about delivered and lost samples.
func (r Report) addDelivery(add addLine) {
	add("delivered/due", func(row Row) string { return digits(4)(row.delivered()) })
	for _, c := range []struct {
		name string
		of   func(Row) any
	}{
		{"lost", func(row Row) any { return row.Lost }},
		{"failed in warm-up", func(row Row) any { return row.WarmupFailed }},
		{"failed scrapes", func(row Row) any { return row.FailedScrapes }},
		{"violations", func(row Row) any { return row.Received.ViolationsTotal }},
	} {
		add(c.name, func(row Row) string {
			if !r.Checks {
				return "-" // unknown without checks
			}
			return fmt.Sprint(c.of(row))
		})
	}
}

func bestCell(best map[string]Best, f figure) string {
	b, ok := best[f.key]
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s (%s)", f.form(b.Value), b.Name)
}

// share writes a ratio as 0.106 (1/9.4) or 3.000.
func share(v float64) string {
	if v > 0 && v < 1 {
		return fmt.Sprintf("%.3f (1/%.1f)", v, 1/v)
	}
	return fmt.Sprintf("%.3f", v)
}
