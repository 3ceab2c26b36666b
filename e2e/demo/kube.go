package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/mesh"
	"github.com/envoy-scraper/envoy-scraper/e2e/process"
)

// startKube starts a real Kubernetes API with the pods of the mesh. It runs as a separate program (demo/kube), so that
// the usual demo need not compile a Kubernetes client. It returns the kubeconfig of an account that may read pods.
func startKube(ctx context.Context, o options, sidecars []mesh.Sidecar) (kubeconfig string, stop func(), err error) {
	dir := filepath.Join(o.dir, "cluster")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", nil, err
	}
	pods, err := json.Marshal(sidecars)
	if err != nil {
		return "", nil, err
	}
	list := filepath.Join(dir, "pods.json")
	if err := os.WriteFile(list, pods, 0o600); err != nil {
		return "", nil, err
	}
	kubeconfig = filepath.Join(dir, "kubeconfig")
	p, err := process.Start(process.Spec{
		Name:    "the Kubernetes API",
		Path:    o.kubeBin,
		LogFile: filepath.Join(o.dir, "kube.log"),
		Args:    []string{"-tools=" + o.tools, "-dir=" + dir, "-pods=" + list, "-kubeconfig=" + kubeconfig},
	})
	if err != nil {
		return "", nil, err
	}
	stop = func() { p.Stop(15 * time.Second) }
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	// The kubeconfig appears when everything else is ready.
	if err := p.WaitReady(ctx, func(context.Context) error { _, err := os.Stat(kubeconfig); return err }); err != nil {
		stop()
		return "", nil, err
	}
	return kubeconfig, stop, nil
}
