package config

import (
	"regexp/syntax"
	"slices"
	"unicode"
)

// maxPairSteps bounds the work of haveCommonString: the pairs of instructions that it compares. It takes some
// hundredths of a second; two expressions of an ordinary file need some thousands.
const maxPairSteps = 300_000

// overlap is whether two regular expressions match a common string.
type overlap int

const (
	disjoint  overlap = iota // no string matches both
	common                   // some string does
	undecided                // maxPairSteps were too few
)

// haveCommonString reports whether two regular expressions match a common string, and returns the shortest. The
// expressions are anchored at both ends.
//
// It walks over both compiled expressions at once, breadth first, one letter after the other. A state is one
// instruction of each, and what came before (for ^, $ and \b). Example: of istio_.* and .*_total, it finds
// istio_total.
func haveCommonString(a, b string) (example string, found overlap) {
	p := regexPair{letters: map[rune]bool{}, steps: maxPairSteps, closures: map[closureKey][]uint32{}}
	for i, text := range []string{a, b} {
		re, err := syntax.Parse(text, syntax.Perl)
		if err != nil {
			return "", disjoint
		}
		if p.progs[i], err = syntax.Compile(re.Simplify()); err != nil {
			return "", disjoint
		}
		p.addLetters(p.progs[i])
	}
	return p.search()
}

// regexPair is the search for a string that two expressions match.
type regexPair struct {
	progs   [2]*syntax.Prog
	letters map[rune]bool // at least one of each set of letters that both expressions treat alike
	steps   int           // remaining of maxPairSteps

	closures map[closureKey][]uint32
}

// closureKey is what the result of closure depends on. letter is of the same kind as the next letter.
type closureKey struct {
	which          int
	pc             uint32
	before, letter rune
}

// pairState is a position in both expressions.
type pairState struct {
	pcs    [2]uint32
	before rune // representative of the letter before, as far as empty matches depend on it
}

// noLetter is the value of pairState.before at the begin of a text, and of the next letter at its end.
const noLetter = -1

// addLetters adds the bounds of all ranges of an expression, and neighbours: every set of letters between them has one.
func (p *regexPair) addLetters(prog *syntax.Prog) {
	for _, r := range "a_:.-\nZ0" { // \b and (?m)^ treat letters, other signs and \n differently
		p.letters[r] = true
	}
	for i := range prog.Inst {
		inst := &prog.Inst[i]
		if inst.Op != syntax.InstRune && inst.Op != syntax.InstRune1 {
			continue // no letters, or all
		}
		for _, r := range inst.Rune {
			for _, near := range []rune{r - 1, r, r + 1} {
				p.addLetter(near)
			}
			if len(inst.Rune) != 1 || syntax.Flags(inst.Arg)&syntax.FoldCase == 0 {
				continue // as in Inst.MatchRune: classes list their folds
			}
			for fold := unicode.SimpleFold(r); fold != r; fold = unicode.SimpleFold(fold) {
				p.addLetter(fold)
			}
		}
	}
}

func (p *regexPair) addLetter(r rune) {
	if r >= 0 && r <= unicode.MaxRune {
		p.letters[r] = true
	}
}

// foundState is a state and how it was reached.
type foundState struct {
	state  pairState
	from   int // index of the state before; -1: none
	letter rune
}

// search returns the shortest string that both expressions match.
func (p *regexPair) search() (string, overlap) {
	var letters []rune
	for r := range p.letters {
		letters = append(letters, r)
	}
	// letters of names first, so that the example looks like one
	slices.SortFunc(letters, func(x, y rune) int {
		if nx, ny := isNameLetter(x), isNameLetter(y); nx != ny {
			if nx {
				return -1
			}
			return 1
		}
		return int(x - y)
	})
	first := pairState{[2]uint32{uint32(p.progs[0].Start), uint32(p.progs[1].Start)}, noLetter}
	queue, seen := []foundState{{first, -1, 0}}, map[pairState]bool{first: true}
	for i := 0; i < len(queue); i++ {
		at := queue[i].state
		if p.matches(0, at) && p.matches(1, at) {
			return p.text(queue, i), common
		}
		for _, r := range letters {
			if p.steps < 0 {
				return "", undecided
			}
			next := [2][]uint32{p.next(0, at, r), p.next(1, at, r)}
			for _, x := range next[0] {
				for _, y := range next[1] {
					p.steps--
					s := pairState{[2]uint32{x, y}, kindOf(r)}
					if !seen[s] {
						seen[s] = true
						queue = append(queue, foundState{s, i, r})
					}
				}
			}
		}
	}
	return "", disjoint
}

func (p *regexPair) text(queue []foundState, i int) string {
	var out []rune
	for ; queue[i].from >= 0; i = queue[i].from {
		out = append(out, queue[i].letter)
	}
	slices.Reverse(out)
	return string(out)
}

// kindOf returns a letter that ^, $ and \b treat as r.
func kindOf(r rune) rune {
	switch {
	case r == '\n' || r == noLetter:
		return r
	case syntax.IsWordChar(r):
		return 'a'
	default:
		return '.'
	}
}

// matches reports whether an expression can end in a state.
func (p *regexPair) matches(which int, at pairState) bool {
	for _, pc := range p.closure(which, at, noLetter) {
		if p.progs[which].Inst[pc].Op == syntax.InstMatch {
			return true
		}
	}
	return false
}

// next returns the instructions of an expression after the letter r.
func (p *regexPair) next(which int, at pairState, r rune) (out []uint32) {
	for _, pc := range p.closure(which, at, r) {
		p.steps--
		if inst := &p.progs[which].Inst[pc]; inst.Op != syntax.InstMatch && inst.MatchRune(r) {
			out = append(out, inst.Out)
		}
	}
	return out
}

// closure returns the instructions that take a letter, or match, and are reached from a state before the letter r.
func (p *regexPair) closure(which int, at pairState, r rune) (out []uint32) {
	key := closureKey{which, at.pcs[which], at.before, kindOf(r)}
	if out, ok := p.closures[key]; ok {
		return out
	}
	defer func() { p.closures[key] = out }()
	empty := syntax.EmptyOpContext(at.before, r)
	todo, seen := []uint32{at.pcs[which]}, map[uint32]bool{}
	for len(todo) > 0 {
		pc := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[pc] {
			continue
		}
		seen[pc] = true
		p.steps--
		switch inst := &p.progs[which].Inst[pc]; inst.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			todo = append(todo, inst.Arg, inst.Out)
		case syntax.InstCapture, syntax.InstNop:
			todo = append(todo, inst.Out)
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(inst.Arg)&^empty == 0 {
				todo = append(todo, inst.Out)
			}
		case syntax.InstFail:
		default:
			out = append(out, pc)
		}
	}
	return out
}

func isNameLetter(r rune) bool {
	return r == '_' || r == ':' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}
