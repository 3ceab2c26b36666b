package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/receiver"
)

// IdleReport says how much agents need without targets, and how soon
// they do something when there is.
type IdleReport struct {
	Report
	After string    `json:"idle_after"`
	Fleet string    `json:"fleet"` // of the second start
	Idle  []IdleRow `json:"idle"`
}

// IdleRow is one agent's result.
type IdleRow struct {
	Name  string `json:"name"`
	Build string `json:"build"`
	usage
	CPU         float64 `json:"cpu_seconds"`          // while idle, the start included
	FirstSample float64 `json:"first_sample_seconds"` // from the start to the first sample at the receiver
	AllSeries   float64 `json:"all_series_seconds"`   // until each series of each target has arrived once
}

// Idle starts each agent twice: without any target for the time idle, and with the whole fleet until all of it has
// arrived.
func Idle(ctx context.Context, c Config, idle time.Duration, progress io.Writer) (IdleReport, error) {
	report := IdleReport{Report: newReport(c), After: idle.String()}
	for _, k := range c.Cases {
		row, err := measureIdle(ctx, c, k, idle, progress)
		if err != nil {
			return report, fmt.Errorf("%s: %w", k.Name, err)
		}
		report.Idle, report.Fleet = append(report.Idle, row), describe(k.Fleet)
	}
	return report, nil
}

func measureIdle(ctx context.Context, c Config, k Case, idle time.Duration, progress io.Writer,
) (row IdleRow, err error) {
	row = IdleRow{Name: k.Name, Build: build(c, k)}
	b, err := newBed(ctx, c, k.Fleet, k.Agent.Accept, filepath.Join(c.Out, k.dir()))
	defer func() { err = errors.Join(err, b.stop()) }()
	if err != nil {
		return row, err
	}
	_, _ = fmt.Fprintf(progress, "%s: %v without targets\n", k.Name, idle)
	if err := b.startAgent(k, nil); err != nil {
		return row, err
	}
	if err := b.rest(ctx, idle); err != nil {
		return row, err
	}
	if row.usage, err = processUsage(b.agent.pid()); err != nil {
		return row, err
	}
	cpu, err := processCPU(b.agent.pid())
	if err != nil {
		return row, err
	}
	row.CPU = cpu.Seconds()
	if _, err := b.stopAgent(); err != nil {
		return row, err
	}
	_, _ = fmt.Fprintf(progress, "%s: %s, until all have arrived\n", k.Name, describe(k.Fleet))
	row.FirstSample, row.AllSeries, err = b.arrival(ctx, k)
	return row, err
}

// arrival starts the agent with all targets and says after how many seconds the first sample, and a sample of each
// series, has arrived. Both are exact to the time between two looks.
func (b *bed) arrival(ctx context.Context, k Case) (first, all float64, err error) {
	const look = 20 * time.Millisecond
	begun := time.Now()
	if err := b.startAgent(k, k.Fleet.TargetList()); err != nil {
		return 0, 0, err
	}
	for deadline := begun.Add(3*b.config.Interval + time.Minute); time.Now().Before(deadline); {
		var s receiver.Stats
		if err := call(ctx, http.MethodGet, b.receiverURL+"/stats", &s); err != nil {
			return 0, 0, err
		}
		now := time.Since(begun).Seconds()
		if first == 0 && s.Page() > 0 {
			first = now
		}
		if s.DistinctSeries >= k.Fleet.Targets*k.Fleet.Series {
			return first, now, nil
		}
		if err := b.rest(ctx, look); err != nil {
			return 0, 0, err
		}
	}
	return 0, 0, fmt.Errorf("not all of the %d series arrived in time", k.Fleet.Targets*k.Fleet.Series)
}

func (r IdleReport) table() [][]string {
	cells := [][]string{{
		"agent", "idle RSS MiB", "anonymous MiB", "of files MiB", "peak MiB", "CPU s", "threads", "descriptors",
		"first sample s", "all series s",
	}}
	for _, row := range r.Idle {
		cells = append(cells, []string{
			row.Name, mibs(float64(row.Resident)), mibs(float64(row.Anonymous)), mibs(float64(row.FileBacked)),
			mibs(float64(row.Peak)),
			digits(2)(row.CPU), fmt.Sprint(row.Threads), fmt.Sprint(row.Descriptors), digits(2)(row.FirstSample),
			digits(2)(row.AllSeries),
		})
	}
	return cells
}

func (r IdleReport) head() []string {
	lines := append(r.Report.head(), "idle: after "+r.After+" without a target; the last two: from the start, with "+
		r.Fleet+" every "+r.Interval)
	for _, row := range r.Idle {
		lines = append(lines, row.Name+": "+row.Build)
	}
	return lines
}

// WriteText prints the report for a terminal.
func (r IdleReport) WriteText(w io.Writer) error { return writeTextTable(w, r.head(), r.table()) }

// WriteMarkdown prints the report for a document.
func (r IdleReport) WriteMarkdown(w io.Writer) error {
	return writeMarkdownTable(w, r.head(), r.table())
}

// WriteJSON keeps everything.
func (r IdleReport) WriteJSON(w io.Writer) error { return writeJSON(w, r) }
