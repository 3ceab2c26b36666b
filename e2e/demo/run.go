package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/envoy-scraper/envoy-scraper/e2e/mesh"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

// run starts the parts in the order in which they need each other, shows the result and stops them in the
// opposite order. A ctx that ends after the result is how a demo ends, not an error.
func run(ctx context.Context, o options, out io.Writer, p progress) (err error) {
	cfg := mesh.DefaultConfig()
	cfg.OneAddress = o.oneAddr
	m := mesh.New(cfg)
	if err := m.Listen(); err != nil {
		return err
	}
	meshCtx, stopMesh := context.WithCancel(context.WithoutCancel(ctx)) // the pages outlive their readers
	meshDone := make(chan error, 1)
	go func() { meshDone <- m.Run(meshCtx) }()
	defer func() {
		stopMesh()
		err = errors.Join(err, <-meshDone)
	}()

	config, stopPods, err := startPods(ctx, o, m, p)
	if err != nil {
		return err
	}
	defer stopPods()

	var prometheus *receiver.Receiver
	if err := p.during("starting Prometheus", func(func(string)) (err error) {
		dir := filepath.Join(o.dir, "prometheus")
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		prometheus, err = receiver.Start(ctx, receiver.Config{Bin: o.tools, Dir: dir, Protocol: receiver.V1AndV2})
		return err
	}); err != nil {
		return err
	}
	defer prometheus.Close()

	var s *scraper
	if err := p.during("starting envoy-scraper", func(func(string)) (err error) {
		s, err = startScraper(ctx, o, config, prometheus.WriteURL())
		return err
	}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	g, err := startGraphs(ctx, o, prometheus, len(m.Sidecars()))
	if err != nil {
		return err
	}
	defer g.close()
	printPlaces(out, m.Sidecars(), prometheus, s, g)

	if err := p.during("waiting for istio_requests_total", func(detail func(string)) error {
		return awaitPods(ctx, prometheus, m.Sidecars(), s.Done(), detail)
	}); err != nil {
		return fmt.Errorf("no result: %w\nenvoy-scraper's log:\n%s", err, s.Log())
	}
	if err := printResult(ctx, out, prometheus); err != nil {
		return err
	}
	if o.once {
		return g.once(ctx, out, prometheus)
	}
	fmt.Fprintln(out, "\nThe mesh goes on. Ctrl-C ends everything.")
	for {
		select {
		case err := <-g.ready:
			g.printReady(out, err)
		case <-ctx.Done():
			fmt.Fprintln(out, "\nstopping")
			return nil
		case <-s.Done():
			return nil // stop says why
		}
	}
}

// startPods makes the pods known in the way that the options choose, and returns envoy-scraper's configuration.
func startPods(ctx context.Context, o options, m *mesh.Mesh, p progress) (config string, stop func(), err error) {
	config = filepath.Join(o.dir, "envoy-scraper.yml")
	if o.kubeBin == "" {
		list := filepath.Join(o.dir, "pods.json")
		return config, func() {}, errors.Join(writePods(list, m.Sidecars()), writeConfig(config, fromList, list))
	}
	if m.Shared() {
		return "", nil, errors.New("a Kubernetes API needs an address for each pod, " +
			"and 127.0.0.2 and up are missing here")
	}
	var kubeconfig string
	err = p.during("starting the Kubernetes API", func(func(string)) (err error) {
		kubeconfig, stop, err = startKube(ctx, o, m.Sidecars())
		return err
	})
	if err != nil {
		return "", nil, err
	}
	return config, stop, writeConfig(config, fromCluster, kubeconfig)
}

func printPlaces(w io.Writer, sidecars []mesh.Sidecar, prometheus *receiver.Receiver, s *scraper, g *graphsPage) {
	page := sidecars[slices.IndexFunc(sidecars, func(s mesh.Sidecar) bool { return s.Service == "ratings" })]
	fmt.Fprintf(w, "\n  a sidecar's page     http://%s/stats/prometheus  (%s)\n", page.Addr, page.Pod)
	fmt.Fprintf(w, "  envoy-scraper        %s/  (/pods, /targets, /service-discovery, /cost, /metrics)\n", s.url())
	fmt.Fprintf(w, "  Prometheus           %s/api/v1/query?query=istio_requests_total\n", prometheus.URL())
	g.printPlace(w)
	fmt.Fprintln(w)
}
