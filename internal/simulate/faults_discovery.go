package simulate

import (
	"math/rand/v2"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/apiserver"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/cluster"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
)

func overHTTP(o options) bool     { return !o.Kubernetes }
func inKubernetes(o options) bool { return o.Kubernetes }

// discoveryKinds are the faults of the HTTP discovery. No sample may be lost through them.
func discoveryKinds() []kind {
	of := func(name string, fault discoveryFault) kind {
		return kind{name: "discovery: " + name, weight: 2, lasts: true, in: overHTTP,
			begin: func(w *world, f scheduledFault, _ *rand.Rand) func() {
				w.setDiscovery(fault)
				w.oracle.Blind(time.Now(), time.Now().Add(f.For))
				return func() { w.setDiscovery(discoveryWell) }
			}}
	}
	return []kind{of("fails", discoveryFails), of("half an answer", discoveryHalf), of("no answer", discoveryHangs)}
}

// How long after a fault of the API server pods may be unknown: client-go waits up to 60 s between two lists, and a
// dial up to 64 s for a SYN that it repeats.
const (
	listPause = 65 * time.Second
	dialPause = 2 * time.Minute
	mostDelay = 20 * time.Second // of a slow API server
)

// apiKinds are the faults of the API server and of the network in front of it. No sample may be lost through them.
func apiKinds() []kind {
	var all []kind
	of := func(name string, pause time.Duration,
		begin func(k *kubernetes, f scheduledFault, chance *rand.Rand) (end func())) {
		all = append(all, kind{name: "API server: " + name, weight: 3, lasts: true, in: inKubernetes,
			begin: func(w *world, f scheduledFault, chance *rand.Rand) func() {
				w.oracle.Blind(time.Now(), time.Now().Add(f.For+pause))
				return begin(w.kubernetes, f, chance)
			}})
	}
	answers := func(name string, pause time.Duration, fault func(chance *rand.Rand) apiserver.Fault) {
		of(name, pause, func(k *kubernetes, f scheduledFault, chance *rand.Rand) func() {
			k.api.Begin(f.name(), fault(chance))
			if chance.IntN(2) == 0 {
				k.api.Cut() // otherwise open watches go on
			}
			return func() { k.api.End(f.name()) }
		})
	}
	fixed := func(f apiserver.Fault) func(*rand.Rand) apiserver.Fault {
		return func(*rand.Rand) apiserver.Fault { return f }
	}
	answers("away", listPause, fixed(apiserver.Fault{Kind: apiserver.Away}))
	answers("half answers", listPause, fixed(apiserver.Fault{Kind: apiserver.Half}))
	answers("silent watches", listPause, fixed(apiserver.Fault{Kind: apiserver.Silent}))
	answers("old state", listPause, fixed(apiserver.Fault{Kind: apiserver.Stale}))
	answers("500", listPause, fixed(apiserver.Fault{Kind: apiserver.Refuse, Status: 500}))
	answers("429", listPause, func(chance *rand.Rand) apiserver.Fault {
		return apiserver.Fault{Kind: apiserver.Refuse, Status: 429, After: time.Duration(chance.IntN(20)) * time.Second}
	})
	answers("no rights", listPause, func(chance *rand.Rand) apiserver.Fault {
		return apiserver.Fault{Kind: apiserver.Refuse, Status: 401 + 2*chance.IntN(2)}
	})
	answers("slow", listPause+mostDelay, func(chance *rand.Rand) apiserver.Fault {
		return apiserver.Fault{Kind: apiserver.Slow, Delay: time.Duration(chance.Int64N(int64(mostDelay)))}
	})
	of("restarts", listPause, func(k *kubernetes, _ scheduledFault, _ *rand.Rand) func() {
		k.down()
		return k.up
	})
	of("forgets changes", listPause, func(k *kubernetes, f scheduledFault, chance *rand.Rand) func() {
		k.world.oracle.Hidden(time.Now(), time.Now().Add(f.For+2*listPause))
		k.api.Rewind(1 + chance.IntN(6))
		return k.cluster.Show
	})
	through := func(name string, fault func(chance *rand.Rand) network.Fault) {
		of("network: "+name, dialPause, func(k *kubernetes, f scheduledFault, chance *rand.Rand) func() {
			bad := fault(chance)
			bad.To = apiHost
			k.world.network.Begin(f.name(), bad)
			return func() { k.world.network.End(f.name()) }
		})
	}
	through("refused", func(*rand.Rand) network.Fault { return network.Fault{Kind: network.Refuse} })
	through("black hole", func(*rand.Rand) network.Fault { return network.Fault{Kind: network.BlackHole} })
	through("reset", func(chance *rand.Rand) network.Fault {
		return network.Fault{Kind: network.Reset, After: chance.IntN(20_000), Toward: network.Direction(chance.IntN(3))}
	})
	through("slow", func(chance *rand.Rand) network.Fault {
		return network.Fault{Kind: network.Slow, Rate: 500 + chance.IntN(20_000)}
	})
	once := func(name string, do func(s *apiserver.Server)) {
		all = append(all, kind{name: "API server: " + name, weight: 3, in: inKubernetes,
			begin: func(w *world, _ scheduledFault, _ *rand.Rand) func() {
				w.oracle.Blind(time.Now(), time.Now().Add(listPause))
				do(w.kubernetes.api)
				return nil
			}})
	}
	once("cuts watches", (*apiserver.Server).Cut)
	once("410 Gone", func(s *apiserver.Server) {
		s.Compact()
		s.Cut()
	})
	return all
}

// clusterKinds are what happens to pods of a cluster.
func clusterKinds() []kind {
	var all []kind
	of := func(name string, lasts bool, begin func(k *kubernetes, p *pod, chance *rand.Rand) (end func())) {
		all = append(all, kind{name: "pod: " + name, weight: 3, lasts: lasts, in: inKubernetes,
			begin: func(w *world, _ scheduledFault, chance *rand.Rand) func() {
				if p := w.anyPod(chance); p != nil {
					return begin(w.kubernetes, p, chance)
				}
				return nil
			}})
	}
	once := func(name string, do func(k *kubernetes, p *cluster.Pod)) {
		of(name, false, func(k *kubernetes, p *pod, _ *rand.Rand) func() {
			do(k, p.of)
			return nil
		})
	}
	finishes := func(name string, finish func(*cluster.Cluster, *cluster.Pod)) {
		of(name, true, func(k *kubernetes, p *pod, _ *rand.Rand) func() {
			finish(k.cluster, p.of)
			k.cluster.Start(p.workload)
			return func() { k.delete(p.of) }
		})
	}
	finishes("evicted", (*cluster.Cluster).Evict)
	finishes("completes", (*cluster.Cluster).Complete)
	once("moves", func(k *kubernetes, p *cluster.Pod) { k.cluster.Move(p, 10*time.Second) })
	once("same name, other address", func(k *kubernetes, p *cluster.Pod) { k.cluster.Recreate(p) })
	once("its address is used at once", func(k *kubernetes, p *cluster.Pod) { k.cluster.TakeOver(p) })
	once("a label changes", func(k *kubernetes, p *cluster.Pod) { k.cluster.Relabel(p) })
	of("its container restarts", false, func(k *kubernetes, p *pod, _ *rand.Rand) func() {
		k.world.disturb(p.name, 5*time.Second)
		k.cluster.Restart(p.of)
		return nil
	})
	of("without the port", true, func(k *kubernetes, p *pod, _ *rand.Rand) func() {
		started := k.cluster.StartWithoutPort(p.workload)
		return func() { k.delete(started) }
	})
	of("its node is lost", false, func(k *kubernetes, _ *pod, chance *rand.Rand) func() {
		k.loseNode(chance)
		return nil
	})
	return all
}
