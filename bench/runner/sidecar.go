package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/receiver"
)

// SidecarConfig says how to measure what scraping costs a real Envoy. The Cases of Config are not used.
type SidecarConfig struct {
	Config
	Envoy   string // path of the program
	Shape   EnvoyShape
	Keep    string   // the names that metric_relabel_configs of all ways keep
	Filters []string // of the pages that no agent asks for; the first one finds the stats that Keep keeps
	Pages   int      // how many pages of each kind are asked for without an agent
	// Rest is a pause before a page. After it Envoy finds its stats no longer in the processor's caches, as it does
	// when a scraper asks. Rested is how many pages of each kind are asked for so, after those without a pause.
	Rest    time.Duration
	Rested  int
	Targets int // how many times the Envoy is a target, with different labels
	Ways    []SidecarWay
	Store   Agent // takes what the agents send, and scrapes by itself where there is no agent
}

// SidecarWay is one way of samples from a real Envoy into a store.
type SidecarWay struct {
	Name     string
	Agent    *Agent // nil: the store scrapes by itself
	PushDown string // of our own program
}

// SidecarWays lists the ways of bench sidecar.
func SidecarWays() []SidecarWay {
	ways := []SidecarWay{{Name: Direct}}
	for _, a := range Agents() {
		switch a.Name {
		case "vmagent":
			ways = append(ways, SidecarWay{Name: a.Name, Agent: &a})
		case "envoy-scraper-2.0":
			ways = append(ways, SidecarWay{"envoy-scraper-off", &a, "off"},
				SidecarWay{"envoy-scraper-auto", &a, "auto"})
		}
	}
	return ways
}

// caseOf returns the case of a way's agent; without one, of the store.
func (c SidecarConfig) caseOf(w SidecarWay) Case {
	k := Case{Name: w.Name, Agent: c.Store, Job: Job{Keep: c.Keep, PushDown: w.PushDown}}
	if w.Agent != nil {
		k.Agent = *w.Agent
	}
	return k
}

// Sidecar asks a real Envoy for whole and filtered pages, and then measures the ways in turns, each from its start, so
// that a machine that gets slower meanwhile does so for all.
func Sidecar(ctx context.Context, c SidecarConfig, progress io.Writer) (r SidecarReport, err error) {
	r = newSidecarReport(c)
	b, err := newSidecarBed(ctx, c)
	defer func() { err = errors.Join(err, b.stop()) }()
	if err != nil {
		return r, err
	}
	for _, kind := range []struct {
		rest  time.Duration
		pages int
		into  *SidecarPages
	}{{0, c.Pages, &r.Pages}, {c.Rest, c.Rested, &r.Rested}} {
		if kind.pages == 0 {
			continue
		}
		if *kind.into, err = b.pages(ctx, kind.rest, kind.pages); err != nil {
			return r, err
		}
		_, _ = fmt.Fprintf(progress, "%v before each page:\n%s\n", kind.rest, strings.Join(kind.into.lines(), "\n"))
	}
	_, _ = fmt.Fprintf(progress, "%d targets every %v; %d rounds: each way for a warm-up of %v and a window of %v\n",
		c.Targets, c.Interval, c.Windows, c.Warmup, c.Window)
	for n := range c.Windows {
		for i, w := range c.Ways {
			window, err := b.measure(ctx, w)
			if err != nil {
				return r, fmt.Errorf("%s: %w", w.Name, err)
			}
			r.Ways[i].Windows = append(r.Ways[i].Windows, window)
			_, _ = fmt.Fprintf(progress, "  round %d, %s: %s\n", n+1, w.Name, window)
		}
	}
	return r, nil
}

// sidecarBed is a bed whose fleet is one real Envoy, and whose receiver is a store.
type sidecarBed struct {
	*bed
	config SidecarConfig
	admin  string // address of Envoy's pages
}

// newSidecarBed starts an Envoy and waits until it answers. The caller calls stop, whatever happens.
func newSidecarBed(ctx context.Context, c SidecarConfig) (b *sidecarBed, err error) {
	b = &sidecarBed{bed: &bed{config: c.Config, dir: c.Out}, config: c}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return b, err
	}
	if b.admin, err = freeAddress(); err != nil {
		return b, err
	}
	file := filepath.Join(c.Out, "envoy.yaml")
	if err := os.WriteFile(file, []byte(c.Shape.bootstrap(b.admin)), 0o644); err != nil {
		return b, err
	}
	b.fleet, err = start(child{
		name: "envoy", log: filepath.Join(c.Out, "envoy.log"), program: c.Envoy,
		args: []string{"--config-path", file, "--disable-hot-restart", "--concurrency", "1", "--log-level", "error"},
	})
	if err != nil {
		return b, err
	}
	return b, b.untilAnswered(ctx, "http://"+b.admin+"/ready", b.fleet)
}

// untilAnswered waits until a page is there.
func (b *sidecarBed) untilAnswered(ctx context.Context, page string, of *process) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		if _, err := fetch(ctx, http.MethodGet, page); err == nil {
			return nil
		}
		if err := b.rest(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%s is not ready: %w", of.name, err)
		}
	}
}

// pages asks for whole and filtered pages in turns, with a rest before each, and measures Envoy's CPU meanwhile.
func (b *sidecarBed) pages(ctx context.Context, rest time.Duration, pages int) (p SidecarPages, err error) {
	p = make(SidecarPages, 1+len(b.config.Filters))
	for i, filter := range b.config.Filters {
		p[1+i].Filter = filter
	}
	for n := -1; n < pages; n++ { // the first one of each kind is not measured
		for i := range p {
			page := "http://" + b.admin + fleet.Path
			if p[i].Filter != "" {
				page += "?filter=" + url.PathEscape(p[i].Filter)
			}
			if err := b.rest(ctx, rest); err != nil {
				return p, err
			}
			before, err := processCPU(b.fleet.pid())
			if err != nil {
				return p, err
			}
			body, err := fetch(ctx, http.MethodGet, page)
			if err != nil {
				return p, err
			}
			after, err := processCPU(b.fleet.pid())
			if err != nil {
				return p, err
			}
			if n < 0 {
				continue
			}
			p[i].CPU = append(p[i].CPU, (after - before).Seconds())
			p[i].Bytes, p[i].Lines = len(body), linesOf(string(body))
		}
	}
	return p, nil
}

// linesOf counts the samples of a page.
func linesOf(page string) (n int) {
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, "#") {
			n++
		}
	}
	return n
}

// targets are the same Envoy with different labels.
func (b *sidecarBed) targets() (all []group) {
	for n := range b.config.Targets {
		all = append(all, newGroup(b.admin, "bench", fmt.Sprint("envoy-", n)))
	}
	return all
}

// start starts a store with an empty database, and the agent of the way if it has one.
func (b *sidecarBed) start(ctx context.Context, w SidecarWay) error {
	k := b.config.caseOf(w)
	b.dir = filepath.Join(b.config.Out, k.dir())
	store, err := b.setup("store", w.Agent == nil)
	if err != nil {
		return err
	}
	store.Job = k.Job
	command, err := b.config.Store.Prepare(store)
	if err != nil {
		return err
	}
	b.receiverURL = "http://" + store.Web
	b.receiver, err = start(child{name: b.config.Store.Name, log: filepath.Join(b.dir, "receiver.log"), dir: store.Dir,
		program: b.config.program(Case{Agent: b.config.Store}), args: command.Args, env: command.Env})
	if err != nil {
		return err
	}
	if err := b.untilAnswered(ctx, b.receiverURL+"/-/ready", b.receiver); err != nil || w.Agent == nil {
		return err
	}
	s, err := b.setup("run", true)
	if err != nil {
		return err
	}
	b.web, s.Job, s.WriteURL = s.Web, k.Job, b.receiverURL+receiver.WritePath
	if command, err = k.Agent.Prepare(s); err != nil {
		return err
	}
	b.agent, err = start(child{name: k.Agent.Name, log: filepath.Join(b.dir, "agent.log"), dir: s.Dir,
		program: b.config.program(k), args: command.Args, env: command.Env})
	return err
}

// setup returns the setup of a program, with or without the targets.
func (b *sidecarBed) setup(folder string, scrapes bool) (Setup, error) {
	s, err := b.prepare(folder, nil)
	if err != nil || !scrapes {
		return s, err
	}
	s.TargetsFile = filepath.Join(s.Dir, "targets.json")
	return s, writeGroups(s.TargetsFile, b.targets())
}

// end ends agent and store, and removes what they have stored.
func (b *sidecarBed) end() error {
	var errs []error
	for _, p := range []**process{&b.agent, &b.receiver} {
		if *p == nil {
			continue
		}
		_, err := (*p).stop()
		errs = append(errs, err, removeFolders((*p).cmd.Dir))
		*p = nil
	}
	return errors.Join(errs...)
}

// measure runs a way for one window.
func (b *sidecarBed) measure(ctx context.Context, way SidecarWay) (w SidecarWindow, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.config.Warmup+b.config.Window+3*overhead)
	defer cancel()
	defer func() { err = errors.Join(err, b.end()) }()
	if err := b.start(ctx, way); err != nil {
		return w, err
	}
	if err := b.rest(ctx, b.config.Warmup); err != nil {
		return w, err
	}
	return b.window(ctx, way)
}
