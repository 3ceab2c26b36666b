package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
)

// Config says what to measure, and how long.
type Config struct {
	Self     string // this program, for the roles fleet and receiver
	Programs string // folder of our program
	Peers    string // folder of the peers' programs
	Out      string // folder for configurations and logs of the run
	Build    string // version of our own program; without it the report has what the program says of itself

	Interval time.Duration
	Delay    time.Duration // batch_send_deadline of cases without one of their own; 0: the agent's default
	Warmup   time.Duration
	Window   time.Duration
	Windows  int
	Checks   bool // the receiver's checks; off: the null mode
	Strace   bool // count system calls by name, in one more window
	Together bool // Diff: both at the same time
	Cases    []Case
}

// Case is one row of a report: an agent and the fleet it is given.
type Case struct {
	Name    string
	Agent   Agent
	Fleet   fleet.Config
	Program string        // path; empty: where the agent's program is by its kind
	Args    []string      // beside those of the agent
	Delay   time.Duration // batch_send_deadline; 0: Config.Delay
	Job     Job
}

// Job is what the job of a case has besides its targets.
type Job struct {
	Keep     string // the names that metric_relabel_configs keep; empty: all
	PushDown string // push_down of our own program: auto or off; empty: its default
	Sums     string // the names whose counters and histograms the agent sums over the pods; empty: none
}

// kept returns how many series of a page the job keeps, on average, and the share of a page's bytes that they are.
func (c Case) kept() (series, bytes float64, err error) {
	if c.Job.Keep == "" {
		return float64(c.Fleet.Series), 1, nil
	}
	n, bytes, err := c.Fleet.Kept(c.Job.Keep)
	return float64(n) / float64(c.Fleet.Targets), bytes, err
}

// Cases gives each agent the same fleet.
func Cases(agents []Agent, f fleet.Config) []Case {
	var out []Case
	for _, a := range agents {
		out = append(out, Case{Name: a.Name, Agent: a, Fleet: f})
	}
	return out
}

// dir is the case's name as a folder.
func (c Case) dir() string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, c.Name)
}

func (c Config) program(k Case) string {
	switch {
	case k.Program != "":
		return k.Program
	case k.Agent.Peer:
		return filepath.Join(c.Peers, k.Agent.Program)
	}
	return filepath.Join(c.Programs, k.Agent.Program)
}

// overhead is how much longer a run may take than warm-up and windows: start, drain, stop.
const overhead = 2 * time.Minute

// Run measures the cases one after another. What it started is gone when it
// returns.
func Run(ctx context.Context, c Config, progress io.Writer) (Report, error) {
	report := newReport(c)
	for _, k := range c.Cases {
		_, _ = fmt.Fprintf(progress, "%s: %s every %v; warm-up %v, then %d windows of %v\n",
			k.Name, describe(k.Fleet), c.Interval, c.Warmup, c.Windows, c.Window)
		rows, err := measure(ctx, c, []Case{k}, progress)
		if err != nil {
			return report, fmt.Errorf("%s: %w", k.Name, err)
		}
		report.Rows = append(report.Rows, rows...)
		report.Peers = compare(report.Rows)
	}
	return report, nil
}

// measure runs the cases at the same time, each with a fleet and a receiver of its own, and returns a row for each.
func measure(ctx context.Context, c Config, cases []Case, progress io.Writer) (rows []Row, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.Warmup+time.Duration(c.Windows+len(cases))*c.Window+overhead)
	defer cancel()
	var beds []*bed
	defer func() {
		for _, b := range beds {
			err = errors.Join(err, b.stop())
		}
	}()
	for n, k := range cases {
		b, err := newBed(ctx, c, k.Fleet.Beside(n), k.Agent.Accept, filepath.Join(c.Out, k.dir()))
		beds = append(beds, b)
		if err != nil {
			return nil, err
		}
	}
	for n, k := range cases {
		if err := beds[n].startAgent(k, k.Fleet.Beside(n).TargetList()); err != nil {
			return nil, err
		}
		rows = append(rows, newRow(c, k))
	}
	if err := warmUp(ctx, beds, rows); err != nil {
		return nil, err
	}
	for n := range c.Windows {
		windows, err := windowOf(ctx, beds)
		if err != nil {
			return nil, err
		}
		for i, w := range windows {
			rows[i].Windows = append(rows[i].Windows, w)
			name := ""
			if len(cases) > 1 {
				name = cases[i].Name + ": "
			}
			_, _ = fmt.Fprintf(progress, "  window %d: %s%s\n", n+1, name, w)
		}
	}
	for i, b := range beds {
		if c.Strace {
			if err := b.trace(ctx, &rows[i]); err != nil {
				return nil, err
			}
		}
		rows[i].Learning.compare(rows[i].Windows)
	}
	for i, b := range beds {
		if err := b.finish(ctx, &rows[i]); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// finish lets everything served arrive, stops the agent and fills in the totals.
func (b *bed) finish(ctx context.Context, row *Row) error {
	last, err := b.snapshot(ctx)
	if err != nil {
		return err
	}
	row.FailedScrapes = last.received.Down - row.WarmupFailed // those after the drain are its own doing
	if row.Served, row.Received, err = b.drain(ctx); err != nil {
		return err
	}
	if b.config.Checks {
		row.Lost = int64(row.Served.Samples) - int64(row.Received.Page())
	}
	row.DistinctSeries = row.Received.DistinctSeries
	row.FirstRequest = time.UnixMilli(row.Received.FirstMillis).Sub(b.agent.begun).Seconds()
	if row.Final, err = processUsage(b.agent.pid()); err != nil {
		return err
	}
	stopped, err := b.stopAgent()
	row.StopSeconds = stopped.Seconds()
	if err != nil {
		row.Remarks = append(row.Remarks, "stopping: "+err.Error())
	}
	return nil
}
