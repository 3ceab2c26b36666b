// Command kube runs a real Kubernetes API for the demo: etcd, kube-apiserver, the pods of a list, and a service account
// that may only read pods. It writes that account's kubeconfig when everything is ready. On an interrupt it stops
// everything that it started.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/envoy-scraper/envoy-scraper/e2e/cluster"
	"github.com/envoy-scraper/envoy-scraper/e2e/mesh"
)

const (
	account   = "envoy-scraper"
	namespace = "monitoring"
)

func main() {
	tools := flag.String("tools", "", "`folder` of etcd and kube-apiserver")
	dir := flag.String("dir", "", "`folder` for data and logs")
	pods := flag.String("pods", "", "`file` with the sidecars as JSON")
	kubeconfig := flag.String("kubeconfig", "", "`file` to write when everything is there")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *tools, *dir, *pods, *kubeconfig); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "kube:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, tools, dir, pods, kubeconfig string) error {
	b, err := os.ReadFile(pods)
	if err != nil {
		return err
	}
	var sidecars []mesh.Sidecar
	if err := json.Unmarshal(b, &sidecars); err != nil {
		return fmt.Errorf("%s: %w", pods, err)
	}
	c, err := cluster.Start(ctx, cluster.Config{Bin: tools, Dir: dir})
	if err != nil {
		return err
	}
	defer c.Close()

	if err := createPods(ctx, c, sidecars); err != nil {
		return err
	}
	if err := c.CreateNamespace(ctx, namespace, nil); err != nil {
		return err
	}
	token, err := c.CreateAccount(ctx, namespace, account, cluster.Reading("", "pods"))
	if err != nil {
		return err
	}
	unfinished, err := c.WriteKubeconfig("kubeconfig.new", token)
	if err != nil {
		return err
	}
	if err := os.Rename(unfinished, kubeconfig); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// createPods creates the pods and their namespaces. It adds one pod without a sidecar, which the job must not scrape.
func createPods(ctx context.Context, c *cluster.Cluster, sidecars []mesh.Sidecar) error {
	var namespaces []string
	for _, s := range sidecars {
		if !slices.Contains(namespaces, s.Namespace) {
			namespaces = append(namespaces, s.Namespace)
			if err := c.CreateNamespace(ctx, s.Namespace, nil); err != nil {
				return err
			}
		}
		way := cluster.PlainSidecar
		if s.Native {
			way = cluster.NativeSidecar
		}
		if err := c.CreatePod(ctx, cluster.Pod{
			Namespace: s.Namespace, Name: s.Pod, Node: s.Node, IP: s.Addr.Addr().String(),
			Labels: s.Labels, Annotations: s.Annotations, Sidecar: way,
		}); err != nil {
			return err
		}
	}
	return c.CreatePod(ctx, cluster.Pod{Namespace: namespaces[0], Name: "without-a-sidecar", IP: "127.0.0.1"})
}
