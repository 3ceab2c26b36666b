package diagnose

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
)

// Instances do not know each other. What one knows of another follows from its own pod: in a StatefulSet the name of
// the pod with another ordinal, in a DaemonSet the namespace in which to look for the pod of another node.

// otherShard is about a pod that another shard scrapes.
func (b *builder) otherShard(p *pod) finding {
	t := p.elsewhere[0]
	f := same(Elsewhere, causeElsewhere+":shard", "Another shard scrapes it.", "")
	f.reason.Sentence = fmt.Sprintf("Shard %d of %d scrapes it for job %s; this is shard %d.", t.Shard, p.shards, t.Job,
		b.in.Shard)
	f.reason.Job = t.Job
	set, ordinal := strings.CutSuffix(b.in.Self.Name, fmt.Sprintf("-%d", b.in.Shard))
	if !ordinal {
		f.reason.Hint = fmt.Sprintf("Look at the pages of the instance with --shard.index=%d.", t.Shard)
		return f
	}
	other := fmt.Sprintf("%s-%d", set, t.Shard)
	f.reason.Hint = fmt.Sprintf("That is pod %s/%s.", b.in.Self.Namespace, other)
	if b.in.Ask != "" && areNames(p.record.Namespace, p.record.Name) {
		f.reason.Hint = fmt.Sprintf("That is pod %s/%s; the command asks it.", b.in.Self.Namespace, other)
		f.reason.Command = fmt.Sprintf("kubectl -n %s exec %s -- %s %s/%s", b.in.Self.Namespace, other, b.in.Ask,
			p.record.Namespace, p.record.Name)
	}
	return f
}

// otherNode is about a pod that the instance of another node scrapes. node is that of this instance.
func (b *builder) otherNode(r *discovery.PodRecord, node string) finding {
	f := same(Elsewhere, causeElsewhere+":node", "The instance of another node scrapes it.", "")
	f.reason.Sentence = fmt.Sprintf("It runs on node %s, whose own instance scrapes it; this one scrapes node %s.",
		r.Node, node)
	if areNames(r.Node) {
		where := "-A"
		if b.in.Self.Namespace != "" {
			where = "-n " + b.in.Self.Namespace
		}
		f.reason.Hint = "The command lists the pods of that node, among which it is."
		f.reason.Command = fmt.Sprintf("kubectl get pods %s --field-selector spec.nodeName=%s", where, r.Node)
	}
	return f
}

// areNames reports whether all are names of objects in Kubernetes, which need no quotes in a shell. Labels that a
// discovery sets may be anything.
func areNames(names ...string) bool {
	for _, name := range names {
		if len(validation.IsDNS1123Subdomain(name)) > 0 {
			return false
		}
	}
	return true
}
