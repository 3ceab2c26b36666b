package simulate

import (
	"math/rand/v2"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/receiver"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/sidecar"
)

// kind is a kind of fault.
type kind struct {
	name   string
	weight int
	lasts  bool                 // it has an end; others happen at once
	in     func(o options) bool // runs that have it; nil: all
	// begin starts the fault and returns what ends it; nil: nothing has to end.
	begin func(w *world, f scheduledFault, chance *rand.Rand) (end func())
}

// kinds returns all kinds of faults.
func kinds() []kind {
	var all []kind
	all = append(all, receiverKinds()...)
	all = append(all, networkKinds()...)
	all = append(all, podKinds()...)
	all = append(all, discoveryKinds()...)
	all = append(all, apiKinds()...)
	all = append(all, clusterKinds()...)
	all = append(all, diskKinds()...)
	all = append(all, agentKinds()...)
	all = append(all, fleetKinds()...)
	all = append(all, reloadKinds()...)
	return append(all, certificateKinds()...)
}

// receiverKinds are the faults of receivers.
func receiverKinds() []kind {
	of := func(name string, fault func(chance *rand.Rand) receiver.Fault) kind {
		return kind{name: "receiver: " + name, weight: 2, lasts: true,
			begin: func(w *world, f scheduledFault, chance *rand.Rand) func() {
				r := w.receivers[pick(chance, receiverNames...)]
				r.Begin(f.name(), fault(chance))
				return func() { r.End(f.name()) }
			}}
	}
	fixed := func(f receiver.Fault) func(*rand.Rand) receiver.Fault {
		return func(*rand.Rand) receiver.Fault { return f }
	}
	return []kind{
		of("503", fixed(receiver.Fault{Status: 503})),
		of("503 with Retry-After", fixed(receiver.Fault{Status: 503, RetryAfter: 40 * time.Second})),
		of("429", fixed(receiver.Fault{Status: 429})),
		of("429 with Retry-After", func(chance *rand.Rand) receiver.Fault {
			return receiver.Fault{Status: 429, RetryAfter: time.Duration(1+chance.IntN(90)) * time.Second}
		}),
		of("401", fixed(receiver.Fault{Status: 401})),
		of("only 1.0", fixed(receiver.Fault{Only: receiver.V1})),
		of("413", func(chance *rand.Rand) receiver.Fault { return receiver.Fault{MaxBody: 1000 + chance.IntN(8000)} }),
		of("400 for some series", func(chance *rand.Rand) receiver.Fault {
			return receiver.Fault{Poisoned: 10 + chance.IntN(500)}
		}),
		of("400 for some series, only 1.0", func(chance *rand.Rand) receiver.Fault {
			return receiver.Fault{Poisoned: 50 + chance.IntN(1000), Only: receiver.V1}
		}),
		of("lost answers", fixed(receiver.Fault{LoseAnswer: true})),
		of("cut before the body", fixed(receiver.Fault{CutBody: true})),
		of("silent", fixed(receiver.Fault{Silent: true})),
		of("slow", func(chance *rand.Rand) receiver.Fault {
			return receiver.Fault{Delay: time.Duration(chance.IntN(12000)) * time.Millisecond}
		}),
	}
}

// networkKinds are faults between agents, receivers and pods.
func networkKinds() []kind {
	receivers := func(name string, fault func(chance *rand.Rand) network.Fault) kind {
		return kind{name: "network: " + name + " at a receiver", weight: 2, lasts: true,
			begin: func(w *world, f scheduledFault, chance *rand.Rand) func() {
				bad, n := fault(chance), chance.IntN(len(receiverNames))
				bad.To = receiverAddress(receiverNames[n])
				w.network.Begin(f.name(), bad)
				r := w.receivers[receiverNames[n]]
				r.Doubt(1)
				return func() {
					w.network.End(f.name())
					r.Doubt(-1)
				}
			}}
	}
	pods := func(name string, fault func(chance *rand.Rand) network.Fault) kind {
		return kind{name: "network: " + name + " at a pod", weight: 2, lasts: true,
			begin: func(w *world, f scheduledFault, chance *rand.Rand) func() {
				p := w.anyPod(chance)
				if p == nil {
					return nil
				}
				bad := fault(chance)
				bad.To = p.addr
				w.network.Begin(f.name(), bad)
				w.disturb("", f.For) // another pod may get the address
				return func() { w.network.End(f.name()) }
			}}
	}
	var all []kind
	for _, of := range []func(string, func(*rand.Rand) network.Fault) kind{receivers, pods} {
		all = append(all,
			of("refused", func(*rand.Rand) network.Fault { return network.Fault{Kind: network.Refuse} }),
			of("black hole", func(*rand.Rand) network.Fault { return network.Fault{Kind: network.BlackHole} }),
			of("reset", func(chance *rand.Rand) network.Fault {
				return network.Fault{Kind: network.Reset, After: chance.IntN(5000),
					Toward: network.Direction(chance.IntN(3))}
			}),
			of("slow", func(chance *rand.Rand) network.Fault {
				return network.Fault{Kind: network.Slow, Rate: 500 + chance.IntN(20000)}
			}),
			of("delay", func(chance *rand.Rand) network.Fault {
				return network.Fault{Kind: network.Delay, Delay: time.Duration(chance.IntN(3000)) * time.Millisecond}
			}))
	}
	return all
}

// podKinds are what happens to pods and their pages.
func podKinds() []kind {
	page := func(name string, fault sidecar.Kind) kind {
		return kind{name: "page: " + name, weight: 2, lasts: true,
			begin: func(w *world, f scheduledFault, chance *rand.Rand) func() {
				p := w.anyPod(chance)
				if p == nil {
					return nil
				}
				p.envoy.Begin(f.name(), sidecar.Fault{Kind: fault, To: "http://10.9.9.9/",
					Delay: time.Duration(chance.IntN(8000)) * time.Millisecond})
				w.disturb(p.name, f.For)
				return func() { p.envoy.End(f.name()) }
			}}
	}
	once := func(name string, weight int, do func(w *world, p *pod, chance *rand.Rand)) kind {
		return kind{name: name, weight: weight, begin: func(w *world, _ scheduledFault, chance *rand.Rand) func() {
			if p := w.anyPod(chance); p != nil {
				do(w, p, chance)
			}
			return nil
		}}
	}
	return []kind{
		page("503", sidecar.Unavailable), page("ends halfway", sidecar.Halfway), page("no answer", sidecar.Hang),
		page("late", sidecar.Late), page("another format", sidecar.OtherFormat), page("bad line", sidecar.BrokenLine),
		page("redirect", sidecar.Redirect), page("empty", sidecar.Empty), page("duplicate", sidecar.Duplicate),
		once("page: grows", 3, func(_ *world, p *pod, chance *rand.Rand) { p.envoy.Grow(1 + chance.IntN(5)) }),
		once("page: shrinks", 3, func(_ *world, p *pod, chance *rand.Rand) { p.envoy.Shrink(1 + chance.IntN(3)) }),
		once("page: churns", 4, func(_ *world, p *pod, chance *rand.Rand) { p.envoy.Churn(1 + chance.IntN(5)) }),
		once("sidecar restarts", 3, func(w *world, p *pod, _ *rand.Rand) {
			w.disturb(p.name, time.Second)
			p.envoy.Restart()
		}),
		once("connections of a pod are cut", 2, func(w *world, p *pod, _ *rand.Rand) {
			w.disturb(p.name, time.Second)
			p.host.Cut()
		}),
		once("a pod goes", 4, func(w *world, p *pod, _ *rand.Rand) {
			if len(w.livePods()) > w.opts.Pods/2 {
				w.death(p)
			}
		}),
		once("a pod comes", 4, func(w *world, _ *pod, _ *rand.Rand) {
			if err := w.birth(); err != nil {
				w.problem("a pod does not start: %v", err)
			}
		}),
		once("a pod is replaced at once", 4, func(w *world, p *pod, _ *rand.Rand) {
			w.death(p)
			if err := w.birth(); err != nil {
				w.problem("a pod does not start: %v", err)
			}
		}),
	}
}

// anyPod returns a pod, or nil if there is none.
func (w *world) anyPod(chance *rand.Rand) *pod {
	pods := w.livePods()
	if len(pods) == 0 {
		return nil
	}
	return pods[chance.IntN(len(pods))]
}

func (w *world) anyAgent(chance *rand.Rand) *runner { return w.agents[chance.IntN(len(w.agents))] }

// disturb reports to the oracle that scrapes of a pod (all pods if the name is empty) may fail from now on for d. It
// includes scrapes that already run and those that begin before the end.
func (w *world) disturb(pod string, d time.Duration) {
	now := time.Now()
	w.oracle.Disturbed(pod, now.Add(-w.opts.Timeout), now.Add(d+w.opts.Timeout+5*time.Second))
}
