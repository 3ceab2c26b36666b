package chart

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/cluster"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// testModes runs the program as the pods of each mode would. Its only credential is the token of the pods' service
// account.
func (w *world) testModes(t *testing.T) {
	w.createNamespace(t, "mesh", "privileged")
	for i, name := range []string{"a", "b", "c", "d"} {
		ip, node := fmt.Sprintf("127.0.47.%d", i+1), "node-1"
		if i >= 2 {
			node = "node-2"
		}
		servePage(t, ip)
		pod := cluster.Pod{Namespace: "mesh", Name: name, Node: node, IP: ip, Sidecar: cluster.NativeSidecar}
		if err := w.cluster.CreatePod(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	all := []string{"a", "b", "c", "d"}
	for _, c := range []struct {
		name   string
		values []string
		pods   int
		want   []string
	}{
		{"daemonset", nil, 1, []string{"a", "b"}},
		{"statefulset", []string{"--set", "mode=statefulset", "--set", "shards[0].count=2"}, 2, all},
		{"deployment", []string{"--set", "mode=deployment"}, 1, all},
		{"namespaced", []string{"--set", "mode=deployment", "--set", "rights.namespaces[0]=mesh"}, 1, all},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := "run-" + c.name
			r := w.render(t, name, name, append(newSink(t).to(), c.values...)...)
			w.createNamespace(t, name, "restricted")
			w.apply(t, r)
			template, _ := r.pod(t)
			kubeconfig := w.token(t, name, template.Spec.ServiceAccountName)
			var pods []*instance
			for i := range c.pods {
				pod := fmt.Sprintf("%s-%d", c.name, i)
				pods = append(pods, w.start(t, r, "node-1", pod, filepath.Join(t.TempDir(), "data"),
					"--kubeconfig="+kubeconfig))
			}
			parts.Eventually(t, time.Minute, "the targets of all pods together", func() error {
				var got []string
				for _, pod := range pods {
					up, err := pod.up()
					if err != nil {
						return err
					}
					got = append(got, up...) // a target that two pods scrape is in the list twice
				}
				if slices.Sort(got); !slices.Equal(got, c.want) {
					return fmt.Errorf("targets up: %q, want %q", got, c.want)
				}
				return nil
			})
		})
	}
}
