// Package yamltree reads and edits the YAML trees of a configuration file.
//
// The file is read with yaml.v3, whose nodes know their lines. prometheus/config decodes with yaml.v2. DecodeStrict
// therefore prints a tree and decodes the text again. Flatten removes what the two versions print or read differently:
// aliases, anchors, merge keys, comments and block scalars.
//
// A mapping node keeps keys and values alternately in Content, so the i-th key is Content[2*i] and its value
// Content[2*i+1]: {a: 1, b: 2} has the Content a, 1, b, 2.
package yamltree

import (
	"fmt"

	yamlv2 "go.yaml.in/yaml/v2"
	"go.yaml.in/yaml/v3"
)

// maxNodes is the largest number of values in a file after its aliases are expanded.
const maxNodes = 500_000

// flattener expands aliases and merge keys.
type flattener struct {
	nodes  int
	inside map[*yaml.Node]bool // anchors being expanded: an alias of one of them would never end
}

// Flatten returns a deep copy of the tree with aliases and merge keys expanded. Values keep the lines where they were
// written.
func Flatten(n *yaml.Node) (*yaml.Node, error) {
	f := &flattener{inside: map[*yaml.Node]bool{}}
	return f.node(n)
}

func (f *flattener) node(n *yaml.Node) (*yaml.Node, error) {
	if f.nodes++; f.nodes > maxNodes {
		return nil, fmt.Errorf("line %d: more than %d values after aliases are expanded", n.Line, maxNodes)
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

// mapping expands the merge keys of a mapping as yaml.v2 does: merged keys override the keys before the merge key, and
// the keys after it override them. A key that is written twice stays twice, so that the decoder refuses it.
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
			if at := Index(flat, key.Value); at >= 0 && merged[flat.Content[2*at]] && key.Kind == yaml.ScalarNode {
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
				if at := Index(flat, k.Value); at >= 0 {
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

// mergeSources returns the mappings that a merge key names. The last one has precedence.
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

// Index returns the position of a key in a mapping, or -1 if the mapping does not have it.
func Index(mapping *yaml.Node, key string) int {
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

// Get follows keys down from a mapping. It returns nil if one of them does not exist.
func Get(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		at := Index(n, key)
		if at < 0 {
			return nil
		}
		n = n.Content[2*at+1]
	}
	return n
}

// Items returns the entries of a list, or nil if n is not a list.
func Items(n *yaml.Node) []*yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

// Without returns a copy of a mapping without its i-th key, or of a list without its i-th entry. The copy shares the
// other values with n.
func Without(n *yaml.Node, i int) *yaml.Node {
	less := *n
	width := 1
	if n.Kind == yaml.MappingNode {
		width = 2
	}
	less.Content = append(append([]*yaml.Node(nil), n.Content[:i*width]...), n.Content[(i+1)*width:]...)
	return &less
}

// IsEmpty reports whether n has no value: it is absent, null, an empty mapping or an empty list.
func IsEmpty(n *yaml.Node) bool {
	return n == nil || len(n.Content) == 0 && (n.Kind != yaml.ScalarNode || n.Tag == "!!null")
}

// Mapping returns a mapping of the keys and values in pairs.
func Mapping(pairs ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: pairs}
}

// String returns a string value.
func String(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
}

// DecodeStrict decodes a tree with yaml.v2 as prometheus/config does. Unknown keys are errors.
func DecodeStrict(n *yaml.Node, out any) error {
	text, err := yaml.Marshal(n)
	if err != nil {
		return err
	}
	return yamlv2.UnmarshalStrict(text, out)
}

// Join appends a key to the path of its mapping, as in global.external_labels.
func Join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// Line follows keys down from a mapping and returns the line of the last one, or 0 if one of them does not exist.
func Line(n *yaml.Node, keys ...string) int {
	line := 0
	for _, key := range keys {
		at := Index(n, key)
		if at < 0 {
			return 0
		}
		line, n = n.Content[2*at].Line, n.Content[2*at+1]
	}
	return line
}
