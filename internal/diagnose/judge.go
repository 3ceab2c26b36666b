package diagnose

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// finding is a verdict with its reason.
type finding struct {
	verdict Verdict
	reason  Reason
	words   string               // the sentence, without what is only about this pod
	target  *scrape.TargetStatus // that the verdict is about; nil: none
}

// The kinds of causes: what Reason.Cause begins with, up to the first colon.
const (
	causeRule      = "rule"      // rule:JOB:NUMBER
	causeInvalid   = "invalid"   // invalid:JOB
	causeNotSeen   = "not-seen"  // not-seen:namespace, …:selector, …:rights, …:no-service, …:no-job
	causeNoSidecar = "sidecar"   // sidecar:missing, …:none
	causeNotReady  = "not-ready" // not-ready:no-address, …:first-scrape, …:no-target-yet
	causeDuplicate = "duplicate" // duplicate:JOB
	causeElsewhere = "elsewhere" // elsewhere:shard, …:node
	causeFinished  = "finished"  // finished, finished:still-a-target
	causeDown      = "down"      // down:refused, down:timeout, down:status:403 …
	causeCut       = "cut"       // cut:sample_limit …
	causeScraped   = "scraped"   // scraped, scraped:own-page, …:twice, …:no-requests …
)

// same returns a finding whose sentence says nothing about the pod alone.
func same(v Verdict, cause, sentence, hint string) finding {
	return finding{verdict: v, reason: Reason{Sentence: sentence, Hint: hint, Cause: cause}, words: sentence}
}

// judge returns the verdict on a pod, apart from what only a comparison with other pods shows.
func (b *builder) judge(p *pod) finding {
	r := &p.record
	switch {
	case r.Finished():
		return b.finished(p)
	case len(p.envoys) > 0:
		return b.judgeTargets(p)
	case len(p.elsewhere) > 0:
		return b.otherShard(p)
	case len(p.duplicates) > 0:
		return duplicate(p)
	case !p.seen && len(p.invalid)+len(p.dropped) == 0:
		return b.notSeen(p)
	case r.Proxy == "":
		return noSidecar(p)
	case r.IP == "":
		return noAddress(p)
	case len(p.invalid) > 0:
		return b.invalid(p)
	case len(p.dropped) > 0:
		return b.leftOut(p)
	default:
		return same(NotReady, causeNotReady+":no-target-yet",
			"Discovery has seen it, and no job has a target of it yet.",
			"New pods become targets within about a second. If it stays like this, look at the discoveries' errors.")
	}
}

// finished is about a pod whose containers have ended. Its address may be another pod's by now.
func (b *builder) finished(p *pod) finding {
	r := &p.record
	f := same(Finished, causeFinished, "Its containers have ended for good, so there is nothing to scrape.", "")
	f.reason.Sentence = fmt.Sprintf("Its phase is %s: its containers have ended for good.", r.Phase)
	if len(p.envoys) == 0 {
		return f
	}
	t := p.envoys[0]
	f.target = t
	f.reason.Cause = causeFinished + ":still-a-target"
	f.words = fmt.Sprintf("Its containers have ended for good, but job %s still scrapes its address.", t.Job)
	owner := ""
	if heir := b.byIP[r.IP]; heir != nil {
		owner = fmt.Sprintf(", which pod %s/%s has now", heir.record.Namespace, heir.record.Name)
	}
	f.reason.Sentence = fmt.Sprintf("Its phase is %s, but job %s still scrapes its address %s%s.", r.Phase, t.Job, r.IP,
		owner)
	f.reason.Hint = "Add a rule that drops finished pods: source_labels: [__meta_kubernetes_pod_phase], action: " +
		"drop, regex: Succeeded|Failed."
	f.reason.Job = t.Job
	return f
}

// judgeTargets is about a pod whose Envoy has targets here: the worst of them counts.
func (b *builder) judgeTargets(p *pod) finding {
	badness := func(t *scrape.TargetStatus) int {
		switch {
		case t.Health == scrape.HealthDown && !scrape.IsLimit(t.Failure):
			return 3
		case t.Health == scrape.HealthDown:
			return 2
		case t.Health == scrape.HealthUnknown:
			return 1
		default:
			return 0
		}
	}
	t := slices.MaxFunc(p.envoys, func(x, y *scrape.TargetStatus) int { return cmp.Compare(badness(x), badness(y)) })
	var f finding
	switch badness(t) {
	case 3:
		f = b.down(p, t)
	case 2:
		f = b.cut(t)
	case 1:
		f = same(NotReady, causeNotReady+":first-scrape", fmt.Sprintf("It is a target of job %s, which has not "+
			"scraped it yet: the first scrape begins within %s.", t.Job, span(t.Interval)), "")
	default:
		f = b.scraped(p, t)
	}
	f.target, f.reason.Job = t, t.Job
	return f
}

func duplicate(p *pod) finding {
	t := p.duplicates[0]
	f := same(Duplicate, causeDuplicate+":"+t.Job,
		fmt.Sprintf("Its target of job %s equals that of another pod: URL and labels are the same.", t.Job),
		"The other one is scraped. Pods with the network of their node have one address: keep a label that "+
			"differs, such as the pod's name.")
	if t.Same != (scrape.Pod{}) {
		f.reason.Sentence = fmt.Sprintf("Its target of job %s equals that of pod %s, which is scraped: URL and labels "+
			"are the same.", t.Job, t.Same)
	}
	f.reason.Job = t.Job
	return f
}

// noSidecar is about a pod without an Envoy.
func noSidecar(p *pod) finding {
	r := &p.record
	if !r.Asks && !r.Injected {
		return same(NoSidecar, causeNoSidecar+":none", "It has no container istio-proxy and no port whose name "+
			"ends in envoy-prom, and it asks for no sidecar.", "A label of its namespace may ask for one: kubectl "+
			"get namespace "+r.Namespace+" --show-labels.")
	}
	hint := "It was made before injection was switched on, or the injector did not answer then. Delete it, so that " +
		"its controller makes a new one."
	switch {
	case r.HostNetwork:
		hint = "It has the network of its node, and Istio injects no sidecar into such pods."
	case r.Injected:
		hint = "The injector has changed it, but something removed the container afterwards, or its template has none."
	}
	return same(NoSidecar, causeNoSidecar+":missing", "It asks for a sidecar, and has no container istio-proxy.", hint)
}

func noAddress(p *pod) finding {
	hint := "Its node has not given it an address yet: kubectl describe pod shows why."
	if p.record.Node == "" {
		hint = "It is not scheduled to a node yet: kubectl describe pod shows why."
	}
	return same(NotReady, causeNotReady+":no-address", "It has no address yet, so no job can have a target of it.",
		hint)
}

func (b *builder) invalid(p *pod) finding {
	t := p.invalid[0]
	f := same(NotATarget, causeInvalid+":"+t.Job, fmt.Sprintf("Job %s makes an invalid target of it.", t.Job),
		invalidHint(t.Reason))
	f.reason.Sentence = fmt.Sprintf("Job %s makes an invalid target of it: %s.", t.Job, shorten(t.Reason))
	f.reason.Job = t.Job
	return f
}

// notSeen is about a pod that was asked for and that no discovery lists.
func (b *builder) notSeen(p *pod) finding {
	r := &p.record
	if r.Proxy == "" {
		return noSidecar(p)
	}
	if len(b.in.Scopes) == 0 {
		return same(NotSeen, causeNotSeen+":no-job", "No job discovers pods in Kubernetes.",
			"Add kubernetes_sd_configs with role: pod to a job, or run without --config.file.")
	}
	var seenBy, nearest discovery.PodScope // nearest: that misses it least
	var miss discovery.Miss
	var words string
	for _, s := range b.in.Scopes {
		switch m, why := s.Misses(p.whole); {
		case m == discovery.Sees && (seenBy.Job == "" || s.Role == "pod"):
			seenBy = s
		case m > miss:
			miss, words, nearest = m, why, s
		}
	}
	switch {
	case seenBy.Job != "" && r.IP == "", miss == discovery.MissesNode && r.Node == "":
		return noAddress(p)
	case seenBy.Role == "pod":
		return same(NotReady, causeNotReady+":no-target-yet", "Discovery should see it, and has not listed it yet.",
			"Look again in a second. If it stays like this, look at the discoveries' errors.")
	case seenBy.Job != "":
		f := same(NotSeen, causeNotSeen+":no-service", fmt.Sprintf("No job sees it: job %s finds only pods that a "+
			"Service selects.", seenBy.Job), "Give the pod the labels that a Service selects, or the job role: pod.")
		f.reason.Job = seenBy.Job
		return f
	case miss == discovery.MissesNode:
		return b.otherNode(r, nearest.Node())
	}
	cause, hint := "selector", "Change selectors of the job's kubernetes_sd_configs, or the pod's labels."
	switch miss {
	case discovery.MissesNamespace:
		cause, hint = "namespace", "Add the namespace to namespaces of the job's kubernetes_sd_configs."
	case discovery.MissesRights:
		cause, hint = "rights", "Grant get, list and watch on pods to the account that envoy-scraper uses."
	}
	f := same(NotSeen, causeNotSeen+":"+cause, fmt.Sprintf("No job sees it: job %s %s.", nearest.Job, words), hint)
	f.reason.Job = nearest.Job
	return f
}
