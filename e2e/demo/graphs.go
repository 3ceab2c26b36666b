package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/graphs"
	"github.com/envoy-scraper/envoy-scraper/e2e/process"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

// notCached is the exit code of e2e/tools/vmui.sh if the web UI would have to be downloaded.
const notCached = 3

// errNotCached says that ONCE=1 downloads nothing for the graphs.
var errNotCached = errors.New("the web UI is not in Go's module cache")

// graphsPage serves the graphs. It answers from the start. It shows graphs when the web UI has been found or
// downloaded, and Prometheus has enough samples for a line.
type graphsPage struct {
	options options
	url     string
	ready   chan error // gets one value: nil when there are lines to see, or why there will be none
	server  *http.Server
	handler atomic.Pointer[http.Handler]
	stop    context.CancelFunc
	done    chan struct{} // closed when prepare has ended
}

// startGraphs starts to serve, and prepares the graphs in the background.
func startGraphs(ctx context.Context, o options, prometheus *receiver.Receiver, sidecars int) (*graphsPage, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	g := &graphsPage{
		options: o, url: "http://" + l.Addr().String() + "/",
		ready: make(chan error, 1), stop: stop, done: make(chan struct{}),
	}
	g.server = &http.Server{Handler: g, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = g.server.Serve(l) }() // until close
	go func() {
		defer close(g.done)
		g.ready <- g.prepare(ctx, prometheus, sidecars)
	}()
	return g, nil
}

// close ends the server and what still runs for it.
func (g *graphsPage) close() {
	g.stop()
	<-g.done
	g.server.Close()
}

// ServeHTTP serves the graphs. Before they are ready it serves a page that reloads itself.
func (g *graphsPage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := g.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	w.Header().Set("Refresh", "3")
	http.Error(w, "The graphs will be here in about a minute.", http.StatusServiceUnavailable)
}

// prepare gets the web UI and waits until there are lines to see.
func (g *graphsPage) prepare(ctx context.Context, prometheus *receiver.Receiver, sidecars int) error {
	ui, err := findUI(ctx, g.options)
	if err != nil {
		return err
	}
	base, err := url.Parse(prometheus.URL())
	if err != nil {
		return err
	}
	if err := awaitLines(ctx, prometheus, sidecars); err != nil {
		return err
	}
	h := graphs.Handler(graphs.Config{
		UI: ui, Folders: g.options.folders(), Prometheus: base, Querier: prometheus,
	})
	g.handler.Store(&h)
	return nil
}

// once waits for the graphs, if the web UI is there without a download, and checks that they have data.
func (g *graphsPage) once(ctx context.Context, out io.Writer, q graphs.Querier) error {
	var err error
	select {
	case err = <-g.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	if errors.Is(err, errNotCached) {
		fmt.Fprintln(out, "\ngraphs: left out, since ONCE=1 downloads nothing for them")
		return nil
	}
	if err != nil {
		return fmt.Errorf("no graphs: %w", err)
	}
	shown, err := graphs.Dashboards(ctx, q, g.options.folders())
	if err != nil {
		return fmt.Errorf("no graphs: %w", err)
	}
	panels := 0
	for _, d := range shown {
		for _, r := range d.Rows {
			panels += len(r.Panels)
		}
	}
	fmt.Fprintf(out, "\ngraphs: %d dashboards with %d panels that have data\n", len(shown), panels)
	if panels == 0 {
		return errors.New("no graphs: no panel has data")
	}
	return nil
}

// printPlace says where the graphs will be, and if the mesh's own dashboards will be missing.
func (g *graphsPage) printPlace(w io.Writer) {
	if g.options.once {
		return // nobody can look at them
	}
	fmt.Fprintf(w, "  graphs               %s in about a minute\n", g.url)
	if !g.options.withMeshDashboards() {
		fmt.Fprintf(w, "                       envoy-scraper's own: the mesh's are not in %s\n",
			g.options.meshDashboards)
		fmt.Fprintln(w, "                       (DEMO_DASHBOARDS=FOLDER says where its Grafana dashboards are)")
	}
}

// printReady says that the graphs are ready, or why there are none. The rest of the demo works without them.
func (g *graphsPage) printReady(w io.Writer, err error) {
	switch {
	case err == nil:
		fmt.Fprintf(w, "graphs: %s ready\n", g.url)
	case !errors.Is(err, context.Canceled):
		fmt.Fprintf(w, "graphs: none: %v\n", err)
	}
}

// folders returns the folders of the dashboards that are there.
func (o options) folders() []string {
	if o.withMeshDashboards() {
		return []string{o.meshDashboards, o.dashboards}
	}
	return []string{o.dashboards}
}

func (o options) withMeshDashboards() bool {
	found, err := filepath.Glob(filepath.Join(o.meshDashboards, "*.json"))
	return err == nil && len(found) > 0
}

// findUI returns the folder of the web UI. It downloads it if needed, but not with ONCE=1.
func findUI(ctx context.Context, o options) (folder string, err error) {
	var args []string
	if o.once {
		args = append(args, "--cached")
	}
	p, err := process.Start(process.Spec{
		Name: "vmui.sh", Path: o.vmui, Args: args, LogFile: filepath.Join(o.dir, "vmui.log"),
	})
	if err != nil {
		return "", err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Kill()
		return "", ctx.Err()
	}
	lines := strings.Split(strings.TrimSpace(p.Log()), "\n")
	last := lines[len(lines)-1] // the folder, or what is wrong
	switch code := p.Stop(time.Second); {
	case code == notCached && o.once:
		return "", errNotCached
	case code != 0:
		return "", errors.New(last)
	}
	_, err = os.Stat(last)
	return last, err
}

// awaitLines waits until Prometheus has three samples of each sidecar and of envoy-scraper, so that rates have values.
func awaitLines(ctx context.Context, q querier, sidecars int) error {
	for _, expr := range []string{
		fmt.Sprintf(`count(count_over_time(istio_build[1m]) >= 3) >= %d`, sidecars),
		`count_over_time(envoy_scraper_build_info[1m]) >= 3`,
	} {
		if err := awaitAnswer(ctx, q, expr); err != nil {
			return err
		}
	}
	return nil
}

// awaitAnswer waits until an expression has a result.
func awaitAnswer(ctx context.Context, q querier, expr string) error {
	ctx, cancel := context.WithTimeout(ctx, resultDeadline)
	defer cancel()
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		answer, err := q.Query(ctx, expr)
		if err == nil && len(answer) > 0 {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("no answer to %s: %w", expr, context.Cause(ctx)), err)
		}
	}
}
