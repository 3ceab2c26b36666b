package runner

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/receiver"
)

// bed holds the processes of a measurement: a fleet, a receiver, and one agent at a time between them.
type bed struct {
	config                 Config
	fleetConfig            fleet.Config
	dir                    string
	fleet, receiver, agent *process
	fleetURL, receiverURL  string

	// of the agent that runs
	synthetic   int
	kept        float64 // series of a page that its rules keep
	targetsFile string
	web         string // address of its pages
}

// newBed starts a fleet and a receiver and waits until both listen. The caller
// calls stop, whatever happens.
func newBed(ctx context.Context, c Config, f fleet.Config, accept receiver.Accept, dir string) (b *bed, err error) {
	if b, err = newFleetBed(ctx, c, f, dir); err != nil {
		return b, err
	}
	b.receiver, err = start(child{
		name: "receiver", log: filepath.Join(dir, "receiver.log"), program: c.Self,
		args: []string{"receiver", "-until-eof", "-accept=" + string(accept), fmt.Sprint("-checks=", c.Checks)},
	})
	if err != nil {
		return b, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	address, err := b.receiver.announced(ctx, receiverReady)
	b.receiverURL = "http://" + address
	return b, err
}

// newFleetBed starts a fleet only and waits until it listens. The caller calls stop, whatever happens.
func newFleetBed(ctx context.Context, c Config, f fleet.Config, dir string) (b *bed, err error) {
	b = &bed{config: c, fleetConfig: f, dir: dir, kept: float64(f.Series)}
	if err := enoughDescriptors(f.Targets); err != nil {
		return b, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return b, err
	}
	b.fleet, err = start(child{
		name: "fleet", log: filepath.Join(dir, "fleet.log"), program: c.Self,
		args: append([]string{"fleet", "-until-eof"}, fleetArgs(f)...),
	})
	if err != nil {
		return b, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	address, err := b.fleet.announced(ctx, fleetReady)
	b.fleetURL = "http://" + address
	return b, err
}

// prepare returns the setup of a program that runs in an empty folder of its own and has an address of its own. With
// targets, that folder has the file of them.
func (b *bed) prepare(folder string, targets []fleet.Target) (s Setup, err error) {
	s = Setup{MetricsPath: fleet.Path, Interval: b.config.Interval}
	if s.Dir, err = filepath.Abs(filepath.Join(b.dir, folder)); err != nil {
		return s, err
	}
	if err = errors.Join(os.RemoveAll(s.Dir), os.MkdirAll(s.Dir, 0o755)); err != nil {
		return s, err
	}
	if s.Web, err = freeAddress(); err != nil || targets == nil {
		return s, err
	}
	s.TargetsFile = filepath.Join(s.Dir, "targets.json")
	return s, writeTargets(s.TargetsFile, targets)
}

// startAgent starts the case's agent in an empty folder.
func (b *bed) startAgent(c Case, targets []fleet.Target) error {
	s, err := b.prepare("run", targets)
	if err != nil {
		return err
	}
	b.web, b.targetsFile = s.Web, s.TargetsFile
	if b.kept, _, err = c.kept(); err != nil {
		return err
	}
	s.Job, s.WriteURL, s.Delay = c.Job, b.receiverURL+receiver.WritePath, cmp.Or(c.Delay, b.config.Delay)
	command, err := c.Agent.Prepare(s)
	if err != nil {
		return err
	}
	b.synthetic = c.Agent.Synthetic
	b.agent, err = start(child{
		name: c.Agent.Name, log: filepath.Join(b.dir, "agent.log"), dir: s.Dir, program: b.config.program(c),
		args: append(command.Args, c.Args...), env: command.Env,
	})
	return err
}

// stopAgent ends the agent and forgets its state, which may be large. Its configuration stays.
func (b *bed) stopAgent() (time.Duration, error) {
	took, err := b.agent.stop()
	dir := b.agent.cmd.Dir
	b.agent = nil
	return took, errors.Join(err, removeFolders(dir))
}

// removeFolders removes the folders in dir, but not its files.
func removeFolders(dir string) error {
	entries, err := os.ReadDir(dir)
	errs := []error{err}
	for _, e := range entries {
		if e.IsDir() {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// freeAddress returns a loopback address where no process listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// writeTargets describes the fleet as file_sd does, with the labels that the
// documented job gives a pod. A reader of the file sees all of it or nothing.
func writeTargets(path string, targets []fleet.Target) error {
	groups := []group{}
	for _, t := range targets {
		groups = append(groups, newGroup(t.Address.String(), t.Namespace, t.Pod))
	}
	return writeGroups(path, groups)
}

// group is an entry of a file_sd file.
type group struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

func newGroup(address, namespace, pod string) group {
	return group{[]string{address}, map[string]string{"namespace": namespace, "pod_name": pod}}
}

func writeGroups(path string, groups []group) error {
	text, err := json.MarshalIndent(groups, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// rest waits. If one of the processes ends meanwhile, it returns an error that names the process.
func (b *bed) rest(ctx context.Context, d time.Duration) error {
	var agentDone, receiverDone chan struct{} // nil: does not run at present
	if b.agent != nil {
		agentDone = b.agent.done
	}
	if b.receiver != nil {
		receiverDone = b.receiver.done
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-agentDone:
		return b.agent.ended()
	case <-b.fleet.done:
		return b.fleet.ended()
	case <-receiverDone:
		return b.receiver.ended()
	}
}

// drain stops the fleet from answering and waits until the receiver has all
// that was served, for at most drainTimeout.
func (b *bed) drain(ctx context.Context) (served fleet.Stats, received receiver.Stats, err error) {
	if err = call(ctx, http.MethodPost, b.fleetURL+"/drain", nil); err != nil {
		return served, received, err
	}
	const drainTimeout = 8 * time.Second // less than a usual scrape timeout
	for deadline := time.Now().Add(drainTimeout); ; {
		served, received = fleet.Stats{}, receiver.Stats{}
		if err = call(ctx, http.MethodGet, b.fleetURL+"/stats?targets=1", &served); err != nil {
			return served, received, err
		}
		if err = call(ctx, http.MethodGet, b.receiverURL+"/stats", &received); err != nil {
			return served, received, err
		}
		if !b.config.Checks || time.Now().After(deadline) || received.Page() >= served.Samples {
			return served, received, nil
		}
		if err = b.rest(ctx, 100*time.Millisecond); err != nil {
			return served, received, err
		}
	}
}

// stop ends the processes that still run.
func (b *bed) stop() error {
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
	body, err := fetch(ctx, method, url)
	if err != nil || into == nil {
		return err
	}
	return json.NewDecoder(bytes.NewReader(body)).Decode(into)
}

func fetch(ctx context.Context, method, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return fetchSlow(ctx, method, url)
}

// fetchSlow is fetch with no timeout except that of ctx.
func fetchSlow(ctx context.Context, method, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return body, nil
}
