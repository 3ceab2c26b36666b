package runner

import (
	"context"
	"fmt"
	"io"
)

// flatWithin is how far CPU a sample may differ between fleets of different sizes.
const flatWithin = 0.10

// Scale measures each case with fleets of several sizes, one after another, and
// remarks whether the CPU of a sample stays the same.
func Scale(ctx context.Context, c Config, sizes []int, progress io.Writer) (Report, error) {
	agents := c.Cases
	c.Cases = nil
	for _, k := range agents {
		for _, targets := range sizes {
			sized := k
			sized.Name = fmt.Sprintf("%s x%d", k.Name, targets)
			sized.Fleet.Targets = targets
			if err := sized.Fleet.Validate(); err != nil {
				return Report{}, err
			}
			c.Cases = append(c.Cases, sized)
		}
	}
	report, err := Run(ctx, c, progress)
	report.Remarks = append(report.Remarks, flatness(report.Rows)...)
	return report, err
}

// flatness compares the sizes of each agent: a line an agent.
func flatness(rows []Row) []string {
	var lines []string
	for len(rows) > 0 {
		n := 1
		low, high := rows[0], rows[0]
		for n < len(rows) && rows[n].Agent == rows[0].Agent {
			if cpuPerMillion(rows[n]) < cpuPerMillion(low) {
				low = rows[n]
			}
			if cpuPerMillion(rows[n]) > cpuPerMillion(high) {
				high = rows[n]
			}
			n++
		}
		over := ratio(cpuPerMillion(high), cpuPerMillion(low))
		verdict := "flat"
		if over > 1+flatWithin {
			verdict = "not flat"
		}
		lines = append(lines, fmt.Sprintf("%s: %s within %.0f %%: from %.3f (%d targets) to %.3f (%d targets) "+
			"CPU-s/M samples, %.3f times",
			rows[0].Agent, verdict, flatWithin*100, cpuPerMillion(low), low.Fleet.Targets, cpuPerMillion(high),
			high.Fleet.Targets, over))
		rows = rows[n:]
	}
	return lines
}
