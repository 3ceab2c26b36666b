package config

import (
	"fmt"

	yamlv2 "go.yaml.in/yaml/v2"
	"go.yaml.in/yaml/v3"
)

// Files are read as trees of yaml.v3 nodes, which know their lines; prometheus/config decodes with yaml.v2. A (part of
// a) tree is therefore printed and read again. flatten leaves only what both print and read alike: no aliases, anchors,
// merge keys, comments or block scalars.

// maxNodes bounds a file once its aliases are written out.
const maxNodes = 500_000

// flattener writes out aliases and merge keys.
type flattener struct {
	nodes  int
	inside map[*yaml.Node]bool // aliases being written out: one inside itself never ends
}

// flatten returns a copy of the tree that shares nothing with it but the lines.
func flatten(n *yaml.Node) (*yaml.Node, error) {
	f := &flattener{inside: map[*yaml.Node]bool{}}
	return f.node(n)
}

func (f *flattener) node(n *yaml.Node) (*yaml.Node, error) {
	if f.nodes++; f.nodes > maxNodes {
		return nil, fmt.Errorf("line %d: more than %d values once aliases are written out", n.Line, maxNodes)
	}
	switch n.Kind {
	case yaml.AliasNode:
		if n.Alias == nil || f.inside[n.Alias] {
			return nil, fmt.Errorf("line %d: alias %q contains itself", n.Line, n.Value)
		}
		f.inside[n.Alias] = true
		defer delete(f.inside, n.Alias)
		return f.node(n.Alias)
	case yaml.MappingNode:
		return f.mapping(n)
	}
	flat := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value, Line: n.Line, Column: n.Column}
	flat.Style = n.Style &^ yaml.FlowStyle
	if flat.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		flat.Style = flat.Style&^(yaml.LiteralStyle|yaml.FoldedStyle) | yaml.DoubleQuotedStyle
	}
	for _, c := range n.Content {
		child, err := f.node(c)
		if err != nil {
			return nil, err
		}
		flat.Content = append(flat.Content, child)
	}
	return flat, nil
}

// mapping writes merged keys where the merge key stands: as yaml.v2 has it, they override what stands before them, and
// what stands after overrides them. A key written twice stays so, to be refused.
func (f *flattener) mapping(n *yaml.Node) (*yaml.Node, error) {
	flat := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Line: n.Line, Column: n.Column, Style: n.Style &^ yaml.FlowStyle}
	merged := map[*yaml.Node]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, err := f.node(n.Content[i])
		if err != nil {
			return nil, err
		}
		value, err := f.node(n.Content[i+1])
		if err != nil {
			return nil, err
		}
		if !isMerge(n.Content[i]) {
			if at := index(flat, key.Value); at >= 0 && merged[flat.Content[2*at]] && key.Kind == yaml.ScalarNode {
				delete(merged, flat.Content[2*at])
				flat.Content[2*at], flat.Content[2*at+1] = key, value
				continue
			}
			flat.Content = append(flat.Content, key, value)
			continue
		}
		for _, source := range mergeSources(value) {
			if source.Kind != yaml.MappingNode {
				return nil, fmt.Errorf("line %d: << needs a mapping, or a list of mappings", n.Content[i].Line)
			}
			for j := 0; j+1 < len(source.Content); j += 2 {
				k, v := source.Content[j], source.Content[j+1]
				if at := index(flat, k.Value); at >= 0 {
					flat.Content[2*at+1] = v
					continue
				}
				merged[k] = true
				flat.Content = append(flat.Content, k, v)
			}
		}
	}
	return flat, nil
}

func isMerge(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && key.Value == "<<" && (key.Tag == "" || key.Tag == "!" || key.Tag == "!!merge")
}

// mergeSources is what a merge key names, the one that wins last.
func mergeSources(value *yaml.Node) []*yaml.Node {
	if value.Kind != yaml.SequenceNode {
		return []*yaml.Node{value}
	}
	var sources []*yaml.Node
	for i := len(value.Content) - 1; i >= 0; i-- {
		sources = append(sources, value.Content[i])
	}
	return sources
}

// index is the place of a key among the keys of a mapping, -1 if it is not there.
func index(mapping *yaml.Node, key string) int {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return -1
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if k := mapping.Content[i]; k.Kind == yaml.ScalarNode && k.Value == key {
			return i / 2
		}
	}
	return -1
}

// get follows keys down from a mapping; nil: one of them is not there.
func get(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		at := index(n, key)
		if at < 0 {
			return nil
		}
		n = n.Content[2*at+1]
	}
	return n
}

// items are the entries of a list; none where n is no list.
func items(n *yaml.Node) []*yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

// drop takes the i-th key out of a mapping, or the i-th entry out of a list. It returns a copy that shares the rest.
func drop(n *yaml.Node, i int) *yaml.Node {
	less := *n
	width := 1
	if n.Kind == yaml.MappingNode {
		width = 2
	}
	less.Content = append(append([]*yaml.Node(nil), n.Content[:i*width]...), n.Content[(i+1)*width:]...)
	return &less
}

// isEmpty: nothing is written there.
func isEmpty(n *yaml.Node) bool {
	return n == nil || len(n.Content) == 0 && (n.Kind != yaml.ScalarNode || n.Tag == "!!null")
}

func newMapping(pairs ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: pairs}
}

func newString(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
}

// decodeStrict reads a tree as prometheus/config would read its text.
func decodeStrict(n *yaml.Node, out any) error {
	text, err := yaml.Marshal(n)
	if err != nil {
		return err
	}
	return yamlv2.UnmarshalStrict(text, out)
}
