package config

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// locate narrows a message down to the deepest value that is the reason for it.
func (p *piece) locate(tree *yaml.Node, msg string) place {
	at := place{node: tree}
	narrowed, inner := tree, []int(nil) // narrowed: tree, less the list entries that are not the reason
	for {
		i, whole, ok := p.guilty(narrowed, inner, at.node, msg)
		if !ok {
			return at
		}
		if whole != nil { // a list was cut down to its one guilty entry
			narrowed = whole
			inner = append(append([]int(nil), inner...), 0)
		} else {
			inner = append(append([]int(nil), inner...), i)
		}
		at.steps = append(append([]int(nil), at.steps...), i)
		at.node = at.node.Content[childIndex(at.node, i)]
	}
}

// guilty finds the child of node, which stands at inner in tree, that is the reason for msg.
func (p *piece) guilty(tree *yaml.Node, inner []int, node *yaml.Node, msg string) (child int, whole *yaml.Node, ok bool) {
	switch node.Kind {
	case yaml.SequenceNode:
		return p.guiltyEntry(tree, inner, node, msg)
	case yaml.MappingNode:
		return p.guiltyKey(tree, inner, node, msg)
	}
	return 0, nil, false
}

// guiltyEntry finds the first entry that alone has the message, if the empty list has not.
func (p *piece) guiltyEntry(tree *yaml.Node, inner []int, node *yaml.Node, msg string) (child int, whole *yaml.Node, ok bool) {
	only := *node
	for i := -1; i < len(node.Content); i++ {
		only.Content = nil
		if i >= 0 {
			only.Content = node.Content[i : i+1]
		}
		copied := only
		whole := wrap(tree, inner, &copied)
		err, asked := p.try(whole)
		if !asked {
			return 0, nil, false
		}
		if count(err, msg) > 0 {
			return i, whole, i >= 0
		}
	}
	return 0, nil, false
}

// guiltyKey finds the key whose removal ends the message: better one whose removal ends all trouble, and of those
// better one that the message speaks of.
func (p *piece) guiltyKey(tree *yaml.Node, inner []int, node *yaml.Node, msg string) (child int, whole *yaml.Node, ok bool) {
	before := count(p.decode(tree), msg)
	best, bestRank := 0, 0
	for i := 0; 2*i+1 < len(node.Content); i++ {
		err, asked := p.try(wrap(tree, inner, drop(node, i)))
		if !asked {
			break
		}
		if count(err, msg) >= before {
			continue
		}
		if rank := rankKey(node.Content[2*i].Value, err, msg); rank > bestRank {
			best, bestRank = i, rank
		}
	}
	return best, nil, bestRank > 0
}

func rankKey(key string, left error, msg string) int {
	rank := 2
	if key == "job_name" {
		rank = 1 // without it the job is refused for that, before anything else is looked at
	}
	if left == nil || isTypeError(left) {
		rank += 1000
	}
	if at := mention(msg, key); at >= 0 {
		rank += 500 - min(at, 400)
	}
	return rank
}

// mention is where a message speaks of a key, -1: nowhere.
func mention(msg, key string) int {
	msg = strings.ToLower(msg)
	at := strings.Index(msg, key)
	if spaced := strings.Index(msg, strings.ReplaceAll(key, "_", " ")); spaced >= 0 && (at < 0 || spaced < at) {
		at = spaced
	}
	return at
}
