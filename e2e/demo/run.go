package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/envoy-scraper/envoy-scraper/e2e/mesh"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

// run starts the parts in the order of their dependencies, shows the result and stops the parts in the opposite order.
// When ctx ends after the result, that is the normal end and not an error.
func run(ctx context.Context, o options, out io.Writer, p progress) (err error) {
	cfg := mesh.DefaultConfig()
	cfg.OneAddress = o.oneAddr
	m := mesh.New(cfg)
	if err := m.Listen(); err != nil {
		return err
	}
	// the pages are served until envoy-scraper has stopped
	meshCtx, stopMesh := context.WithCancel(context.WithoutCancel(ctx))
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
	printPlaces(out, m.Sidecars(), prometheus, s)

	if err := p.during("waiting for istio_requests_total", func(detail func(string)) error {
		return awaitPods(ctx, prometheus, m.Sidecars(), s.Done(), detail)
	}); err != nil {
		return fmt.Errorf("no result: %w\nenvoy-scraper's log:\n%s", err, s.Log())
	}
	if err := printResult(ctx, out, prometheus); err != nil || o.once {
		return err
	}
	fmt.Fprintln(out, "\nThe mesh goes on. Ctrl-C ends everything.")
	select {
	case <-ctx.Done():
		fmt.Fprintln(out, "\nstopping")
		return nil
	case <-s.Done():
		return nil // stop returns the error
	}
}

// startPods publishes the pods in a file or in a Kubernetes API, as the options choose. It returns the path of
// envoy-scraper's configuration.
func startPods(ctx context.Context, o options, m *mesh.Mesh, p progress) (config string, stop func(), err error) {
	config = filepath.Join(o.dir, "envoy-scraper.yml")
	if o.kubeBin == "" {
		list := filepath.Join(o.dir, "pods.json")
		return config, func() {}, errors.Join(writePods(list, m.Sidecars()), writeConfig(config, fromList, list))
	}
	if m.Shared() {
		return "", nil, errors.New("-kube needs one address per pod, but this machine has no 127.0.0.2 and up")
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

func printPlaces(w io.Writer, sidecars []mesh.Sidecar, prometheus *receiver.Receiver, s *scraper) {
	page := sidecars[len(sidecars)-1]
	fmt.Fprintf(w, "\n  a sidecar's page     http://%s/stats/prometheus  (%s)\n", page.Addr, page.Pod)
	fmt.Fprintf(w, "  envoy-scraper        %s/  (/targets, /service-discovery, /config, /metrics)\n", s.url())
	fmt.Fprintf(w, "  Prometheus           %s/api/v1/query?query=istio_requests_total\n\n", prometheus.URL())
}
