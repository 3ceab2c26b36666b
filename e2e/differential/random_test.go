package differential

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// randomJobs returns jobs with random pages. The same seed gives the same pages.
func randomJobs(base time.Time, seeds, steps int) []job {
	keys := []string{
		"", "  sample_limit: 9\n", "  track_timestamps_staleness: true\n", "  honor_labels: true\n",
		"  convert_classic_histograms_to_nhcb: true\n",
		"  metric_relabel_configs:\n  - {source_labels: [x], regex: \"2\", action: drop}\n" +
			"  - {regex: y, action: labeldrop}\n",
	}
	var jobs []job
	for seed := range seeds {
		g := generator{rand.New(rand.NewPCG(uint64(seed), 1)), base} //nolint:gosec // repeatable test data, no secret
		j := job{name: fmt.Sprintf("random %d", seed), keys: keys[seed%len(keys)]}
		for step := range steps {
			j.script = append(j.script, g.answer(step))
		}
		jobs = append(jobs, j)
	}
	return jobs
}

// generator generates random pages.
type generator struct {
	*rand.Rand
	base time.Time
}

func (g generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g generator) pick(of ...string) string { return of[g.IntN(len(of))] }

// answer usually returns a page with a few series, many of which were on the previous page.
func (g generator) answer(step int) answer {
	if g.chance(6) {
		return refused(503)
	}
	var lines []string
	for _, family := range []string{"a", "b_total", "c", "dated"} {
		if g.chance(50) {
			lines = append(lines, "# TYPE "+family+" "+g.pick("counter", "gauge", "untyped"))
		}
		for _, x := range []string{"", "1", "2", "3"} {
			if g.chance(70) {
				lines = append(lines, g.line(family, x, step))
			}
		}
	}
	if g.chance(30) {
		g.Shuffle(len(lines), func(i, k int) { lines[i], lines[k] = lines[k], lines[i] })
	}
	if g.chance(60) { // always with its TYPE, because of a known difference (explain)
		lines = append(lines, "# TYPE h histogram")
		for _, le := range []string{"1", "2.5", "+Inf"} {
			lines = append(lines, fmt.Sprintf("h_bucket{le=%q} %d", le, step))
		}
		lines = append(lines, fmt.Sprintf("h_sum %d", step), fmt.Sprintf("h_count %d", step))
	}
	if g.chance(8) {
		at := g.IntN(len(lines) + 1)
		lines = append(lines[:at:at], append([]string{g.pick("garbage", "a{", "a{x=1} 2", "{} 1", `a{x="1",x="2"} 1`,
			"a 1 2 3", "a one")}, lines[at:]...)...)
	}
	if g.chance(8) {
		// with a TYPE that changes no label, because of a known difference (explain)
		lines = append(append(lines, "# TYPE z untyped", "z 1"), lines...)
	}
	a := page(lines...)
	if g.chance(15) {
		a = a.gzipped()
	}
	return a
}

func (g generator) line(family, x string, step int) string {
	var ls []string
	if x != "" {
		ls = append(ls, fmt.Sprintf("x=%q", x))
	}
	if g.chance(20) {
		ls = append(ls, fmt.Sprintf("y=%q", g.pick("1", "2", "")))
	}
	if g.chance(10) {
		ls = append(ls, fmt.Sprintf("zone=%q", g.pick("1", "")))
	}
	if g.chance(30) {
		g.Shuffle(len(ls), func(i, k int) { ls[i], ls[k] = ls[k], ls[i] })
	}
	s := family
	if len(ls) > 0 || g.chance(50) {
		s += "{" + strings.Join(ls, g.pick(",", ", ")) + "}"
	}
	s += " " + g.pick(fmt.Sprint(step), fmt.Sprint(g.Float64()), "NaN", "+Inf", "0", "1e6")
	if family == "dated" {
		s += fmt.Sprint(" ", stamp(g.base, float64(step+g.IntN(3)-1)))
	}
	return s
}
