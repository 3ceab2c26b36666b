package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// flatWithin is how far the CPU of a sample may differ from that of the reference, from the reference's size up.
const flatWithin = 0.25

// Scale measures each case with fleets of several sizes. Beside each of them, at the same time, runs the same agent
// with a fleet of the reference's size: the machine's speed drifts, so figures of two runs do not compare. The remarks
// say how the CPU of a sample compares.
func Scale(ctx context.Context, c Config, sizes []int, reference int, progress io.Writer) (Report, error) {
	report := newReport(c)
	for _, targets := range append([]int{reference}, sizes...) {
		f := c.Cases[0].Fleet
		f.Targets = targets
		if err := errors.Join(f.Validate(), enoughDescriptors(targets)); err != nil {
			return report, err // early, not after the smaller sizes
		}
	}
	for _, k := range c.Cases {
		var compared []sized
		for _, targets := range sizes {
			pair := []Case{k, k}
			pair[0].Fleet.Targets, pair[1].Fleet.Targets = targets, reference
			pair[0].Name = fmt.Sprintf("%s x%d", k.Name, targets)
			pair[1].Name = fmt.Sprintf("%s x%d beside x%d", k.Name, reference, targets)
			_, _ = fmt.Fprintf(progress, "%s beside %d targets: %s every %v; warm-up %v, then %d windows of %v\n",
				k.Name, reference, describe(pair[0].Fleet), c.Interval, c.Warmup, c.Windows, c.Window)
			rows, err := measure(ctx, c, pair, progress)
			if err != nil {
				return report, err
			}
			report.Rows = append(report.Rows, rows...)
			compared = append(compared, newSized(rows[0], rows[1]))
		}
		report.Remarks = append(report.Remarks, flatness(k.Name, reference, compared)...)
	}
	return report, nil
}

// sized is the CPU of a sample with a number of targets, divided by that of the reference at the same time.
type sized struct {
	targets           int
	median, low, high float64
}

func newSized(row, reference Row) sized {
	var all []float64
	for n, w := range row.Windows {
		all = append(all, ratio(w.CPUPerMillion, reference.Windows[n].CPUPerMillion))
	}
	return sized{row.Fleet.Targets, median(all), slices.Min(all), slices.Max(all)}
}

// flatness says how each size compares, and whether the sizes from the reference up are flat.
func flatness(agent string, reference int, sizes []sized) (lines []string) {
	verdict := "flat"
	for _, s := range sizes {
		lines = append(lines, fmt.Sprintf("%s: CPU of a sample of %d targets beside one of %d at the same time: %.3f "+
			"(windows: %.3f to %.3f)", agent, s.targets, reference, s.median, s.low, s.high))
		if s.targets > reference && (s.median > 1+flatWithin || s.median < 1-flatWithin) {
			verdict = "not flat"
		}
	}
	return append(lines, fmt.Sprintf("%s: %s within %.0f %% from %d targets up", agent, verdict, flatWithin*100,
		reference))
}
