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
		row, err := measure(ctx, c, k, progress)
		if err != nil {
			return report, fmt.Errorf("%s: %w", k.Name, err)
		}
		report.Rows = append(report.Rows, row)
		report.Peers = compare(report.Rows)
	}
	return report, nil
}

func measure(ctx context.Context, c Config, k Case, progress io.Writer) (row Row, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.Warmup+time.Duration(c.Windows)*c.Window+overhead)
	defer cancel()
	b, err := newBed(ctx, c, k.Fleet, k.Agent.Accept, filepath.Join(c.Out, k.dir()))
	defer func() { err = errors.Join(err, b.stop()) }()
	if err != nil {
		return row, err
	}
	begun := time.Now()
	if err := b.startAgent(k, k.Fleet.TargetList()); err != nil {
		return row, err
	}
	row = newRow(c, k)
	if err := b.rest(ctx, c.Warmup); err != nil {
		return row, err
	}
	warm, err := b.snapshot(ctx)
	if err != nil {
		return row, err
	}
	row.WarmupFailed, row.WarmupCPU = warm.received.Down, warm.agentCPU.Seconds()
	for n := range c.Windows {
		w, err := b.window(ctx)
		if err != nil {
			return row, err
		}
		row.Windows = append(row.Windows, w)
		_, _ = fmt.Fprintf(progress, "  window %d: %s\n", n+1, w)
	}
	return row, b.finish(ctx, &row, begun)
}

// finish lets everything served arrive, stops the agent and fills in the totals.
func (b *bed) finish(ctx context.Context, row *Row, begun time.Time) error {
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
	row.FirstRequest = time.UnixMilli(row.Received.FirstMillis).Sub(begun).Seconds()
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
