package locate

import (
	"errors"
	"strings"

	yamlv2 "go.yaml.in/yaml/v2"
	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

// cause is a value and the steps that lead to it from the root: the index of a key or of an entry for each level.
type cause struct {
	node  *yaml.Node
	steps []int
}

// findCause returns the deepest value that causes the message.
func (p *Part) findCause(tree *yaml.Node, msg string) cause {
	at := cause{node: tree}
	// reduced is tree with the lists on the way cut down to the entry that causes the message. steps lead to at.node
	// in it: they differ from at.steps, because that entry has index 0.
	reduced, steps := tree, []int(nil)
	for {
		i, cut, ok := p.findChild(reduced, steps, at.node, msg)
		if !ok {
			return at
		}
		if cut != nil {
			reduced = cut
			steps = append(append([]int(nil), steps...), 0)
		} else {
			steps = append(append([]int(nil), steps...), i)
		}
		at.steps = append(append([]int(nil), at.steps...), i)
		at.node = at.node.Content[childIndex(at.node, i)]
	}
}

// findChild returns the index of the child of node that causes the message. node stands at steps in tree. cut is the
// tree in which a list was cut down to that child, or nil.
func (p *Part) findChild(tree *yaml.Node, steps []int, node *yaml.Node, msg string) (child int, cut *yaml.Node,
	ok bool) {
	switch node.Kind {
	case yaml.SequenceNode:
		return p.findEntry(tree, steps, node, msg)
	case yaml.MappingNode:
		child, ok = p.findKey(tree, steps, node, msg)
		return child, nil, ok
	}
	return 0, nil, false
}

// findEntry returns the first entry that causes the message even if it is the only one. It finds none if the empty list
// causes the message too.
func (p *Part) findEntry(tree *yaml.Node, steps []int, node *yaml.Node, msg string) (child int, cut *yaml.Node,
	ok bool) {
	for i := -1; i < len(node.Content); i++ {
		list := *node
		list.Content = nil
		if i >= 0 {
			list.Content = node.Content[i : i+1]
		}
		cut := replace(tree, steps, &list)
		err, ok := p.tryDecode(cut)
		if !ok {
			return 0, nil, false
		}
		if count(err, msg) > 0 {
			return i, cut, i >= 0
		}
	}
	return 0, nil, false
}

// findKey returns the key without which the message occurs less often. If there are several, rankKey chooses.
func (p *Part) findKey(tree *yaml.Node, steps []int, node *yaml.Node, msg string) (child int, ok bool) {
	before := count(p.decode(tree), msg)
	best, bestRank := 0, 0
	for i := 0; 2*i+1 < len(node.Content); i++ {
		err, ok := p.tryDecode(replace(tree, steps, yamltree.Without(node, i)))
		if !ok {
			break
		}
		if count(err, msg) >= before {
			continue
		}
		if rank := rankKey(node.Content[2*i].Value, err, msg); rank > bestRank {
			best, bestRank = i, rank
		}
	}
	return best, bestRank > 0
}

// rankKey rates a key without which the message ends. left is the error that remains without it. A key is better if no
// error of another kind remains, and then if the message mentions it early.
func rankKey(key string, left error, msg string) int {
	rank := 2
	if key == "job_name" {
		rank = 1 // without a job_name the job is refused for that, which hides the message
	}
	var te *yamlv2.TypeError
	if left == nil || errors.As(left, &te) { // yaml continues after a TypeError, so nothing is hidden
		rank += 1000
	}
	if at := mention(msg, key); at >= 0 {
		rank += 500 - min(at, 400)
	}
	return rank
}

// mention returns the index at which a message mentions a key, as scrape_timeout or "scrape timeout", or -1.
func mention(msg, key string) int {
	msg = strings.ToLower(msg)
	at := strings.Index(msg, key)
	if spaced := strings.Index(msg, strings.ReplaceAll(key, "_", " ")); spaced >= 0 && (at < 0 || spaced < at) {
		at = spaced
	}
	return at
}

// count returns how often msg is among the messages of an error.
func count(err error, msg string) int {
	n := 0
	if err != nil {
		for _, m := range Messages(err) {
			if m == msg {
				n++
			}
		}
	}
	return n
}

// replace returns a copy of tree with inner in place of the value to which steps lead. Only the mappings and lists on
// the way are copied.
func replace(tree *yaml.Node, steps []int, inner *yaml.Node) *yaml.Node {
	if len(steps) == 0 {
		return inner
	}
	kept := *tree
	kept.Content = append([]*yaml.Node(nil), tree.Content...)
	c := childIndex(tree, steps[0])
	kept.Content[c] = replace(tree.Content[c], steps[1:], inner)
	return &kept
}

// childIndex returns the index in Content of the i-th value of a mapping or list.
func childIndex(n *yaml.Node, i int) int {
	if n.Kind == yaml.MappingNode {
		return 2*i + 1
	}
	return i
}
