package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/receiver"
)

// Config says what to measure, and how long.
type Config struct {
	Self     string // this program, for the roles fleet and receiver
	Programs string // folder of the agents' programs
	Out      string // folder for configurations and logs of the run
	Build    string // version of our own program; without it the report has what the program says of itself

	Fleet    fleet.Config
	Interval time.Duration
	Warmup   time.Duration
	Window   time.Duration
	Windows  int
	Checks   bool // the receiver's checks; off: the null mode
	Agents   []Agent
}

// overhead is what a run may take beyond warm-up and windows: start, drain, stop.
const overhead = 2 * time.Minute

// Run measures the agents one after another. What it started is gone when it returns.
func Run(ctx context.Context, c Config, progress io.Writer) (Report, error) {
	report := newReport(c)
	for _, a := range c.Agents {
		_, _ = fmt.Fprintf(progress, "%s: %d targets x %d series every %v; warm-up %v, then %d windows of %v\n",
			a.Name, c.Fleet.Targets, c.Fleet.Series, c.Interval, c.Warmup, c.Windows, c.Window)
		row, err := measure(ctx, c, a, progress)
		if err != nil {
			return report, fmt.Errorf("%s: %w", a.Name, err)
		}
		report.Rows = append(report.Rows, row)
	}
	return report, nil
}

// bed is what one agent is measured in.
type bed struct {
	config                 Config
	dir                    string
	fleet, receiver, agent *process
	fleetURL, receiverURL  string
}

func measure(ctx context.Context, c Config, a Agent, progress io.Writer) (row Row, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.Warmup+time.Duration(c.Windows)*c.Window+overhead)
	defer cancel()
	b := &bed{config: c, dir: filepath.Join(c.Out, a.Name)}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, b.stopRest()) }()
	if err := b.startEnds(ctx, a); err != nil {
		return row, err
	}
	begun := time.Now()
	if err := b.startAgent(a); err != nil {
		return row, err
	}
	row = newRow(c, a, b.agent.cmd.Path)
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

// startEnds starts fleet and receiver and waits until both listen.
func (b *bed) startEnds(ctx context.Context, a Agent) (err error) {
	c := b.config
	args := []string{"receiver", "-until-eof", "-accept=" + string(a.Accept), fmt.Sprint("-checks=", c.Checks)}
	if b.receiver, err = start("receiver", filepath.Join(b.dir, "receiver.log"), nil, c.Self, args...); err != nil {
		return err
	}
	args = append([]string{"fleet", "-until-eof"}, fleetArgs(c.Fleet)...)
	if b.fleet, err = start("fleet", filepath.Join(b.dir, "fleet.log"), nil, c.Self, args...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	address, err := b.receiver.announced(ctx, receiverReady)
	if err != nil {
		return err
	}
	b.receiverURL = "http://" + address
	if address, err = b.fleet.announced(ctx, fleetReady); err != nil {
		return err
	}
	b.fleetURL = "http://" + address
	return nil
}

func (b *bed) startAgent(a Agent) error {
	dir, err := filepath.Abs(b.dir)
	if err != nil {
		return err
	}
	s := Setup{
		Dir: dir, TargetsFile: filepath.Join(dir, "targets.json"), MetricsPath: fleet.Path,
		WriteURL: b.receiverURL + receiver.WritePath, Interval: b.config.Interval,
	}
	if err := writeTargets(s.TargetsFile, b.config.Fleet); err != nil {
		return err
	}
	command, err := a.Prepare(s)
	if err != nil {
		return err
	}
	program := filepath.Join(b.config.Programs, a.Program)
	b.agent, err = start(a.Name, filepath.Join(b.dir, "agent.log"), command.Env, program, command.Args...)
	return err
}

// writeTargets describes the fleet as file_sd does, with the labels that the
// documented job gives a pod.
func writeTargets(path string, c fleet.Config) error {
	type group struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	var groups []group
	for _, t := range c.TargetList() {
		groups = append(groups, group{
			Targets: []string{t.Address.String()}, Labels: map[string]string{"namespace": t.Namespace, "pod_name": t.Pod},
		})
	}
	text, err := json.MarshalIndent(groups, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// rest waits, or tells which of the processes ended meanwhile.
func (b *bed) rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-b.agent.done:
		return b.agent.ended()
	case <-b.fleet.done:
		return b.fleet.ended()
	case <-b.receiver.done:
		return b.receiver.ended()
	}
}

// finish lets everything served arrive, stops the agent and fills in the totals.
func (b *bed) finish(ctx context.Context, row *Row, begun time.Time) error {
	last, err := b.snapshot(ctx)
	if err != nil {
		return err
	}
	row.FailedScrapes = last.received.Down - row.WarmupFailed // those after the drain are its own doing
	if err := b.drain(ctx, row); err != nil {
		return err
	}
	row.DistinctSeries = row.Received.DistinctSeries
	row.FirstRequest = time.UnixMilli(row.Received.FirstMillis).Sub(begun).Seconds()
	if _, row.PeakRSS, err = processMemory(b.agent.pid()); err != nil {
		return err
	}
	stopped, err := b.agent.stop()
	row.StopSeconds = stopped.Seconds()
	if err != nil {
		row.Remarks = append(row.Remarks, "stopping: "+err.Error())
	}
	return nil
}

// drain stops the fleet from answering and waits until the receiver has all
// that was served, for at most drainTimeout.
func (b *bed) drain(ctx context.Context, row *Row) error {
	if err := call(ctx, http.MethodPost, b.fleetURL+"/drain", nil); err != nil {
		return err
	}
	const drainTimeout = 8 * time.Second // less than a usual scrape timeout
	for deadline := time.Now().Add(drainTimeout); ; {
		if err := call(ctx, http.MethodGet, b.fleetURL+"/stats?targets=1", &row.Served); err != nil {
			return err
		}
		if err := call(ctx, http.MethodGet, b.receiverURL+"/stats", &row.Received); err != nil {
			return err
		}
		if !b.config.Checks || time.Now().After(deadline) || row.Received.Page() >= row.Served.Samples {
			break
		}
		if err := b.rest(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	if b.config.Checks {
		row.Lost = int64(row.Served.Samples) - int64(row.Received.Page())
	}
	return nil
}

// stopRest ends what still runs; the fleet and the receiver end without complaint.
func (b *bed) stopRest() error {
	var errs []error
	for _, p := range []*process{b.agent, b.fleet, b.receiver} {
		if p == nil {
			continue
		}
		select {
		case <-p.done:
		default:
			_, err := p.stop()
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// call asks one of the children; into may be nil.
func call(ctx context.Context, method, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(bytes.NewReader(body)).Decode(into)
}
