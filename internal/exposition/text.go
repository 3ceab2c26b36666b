package exposition

import "bytes"

// blankLines returns the length of the blank lines that text begins with.
func blankLines(text []byte) (n int) {
	for i, c := range text {
		switch c {
		case '\n':
			n = i + 1
		case ' ', '\t':
		default:
			return n
		}
	}
	return n
}

func isBlank(line []byte) bool { return len(bytes.TrimLeft(line, " \t")) == 0 }

// cutValue splits `series value` from the right.
func cutValue(line []byte) (text, number []byte) {
	i := len(line) - 1
	for i >= 0 && line[i] != ' ' && line[i] != '\t' {
		i--
	}
	number = line[i+1:]
	for i >= 0 && (line[i] == ' ' || line[i] == '\t') {
		i--
	}
	return line[:i+1], number
}

// logicalLine returns the length of the first line of text as textparse counts lines: a quoted string (a label value or
// a family's name in a comment) may hold newlines. whole is false if more text could change the answer. The text
//
//	a{x="one
//	two"} 1
//
// is one logical line of 17 bytes.
func logicalLine(text []byte) (n int, whole bool) {
	i := bytes.IndexAny(text, "{#\n")
	switch {
	case i < 0:
		return len(text), false
	case text[i] == '\n':
		return i + 1, true
	case text[i] == '#':
		if i = quotedFamily(text); i < 0 {
			return toNewline(text, 0)
		}
		if i = skipQuoted(text, i); i < 0 {
			return len(text), false
		}
		return toNewline(text, i)
	}
	for i < len(text) && text[i] != '\n' {
		if text[i] != '"' {
			i++
			continue
		}
		if i = skipQuoted(text, i); i < 0 {
			return len(text), false
		}
	}
	return toNewline(text, i)
}

func toNewline(text []byte, from int) (n int, whole bool) {
	if nl := bytes.IndexByte(text[from:], '\n'); nl >= 0 {
		return from + nl + 1, true
	}
	return len(text), false
}

// quotedFamily returns the offset of the quoted name in a HELP or TYPE; -1: there is none.
func quotedFamily(text []byte) int {
	rest, ok := bytes.CutPrefix(bytes.TrimLeft(text, " \t"), []byte("#"))
	if rest, ok = cutBlanks(rest, ok); !ok {
		return -1
	}
	for _, word := range []string{"HELP", "TYPE"} {
		after, ok := bytes.CutPrefix(rest, []byte(word))
		if after, ok = cutBlanks(after, ok); ok && len(after) > 0 && after[0] == '"' {
			return len(text) - len(after)
		}
	}
	return -1
}

// cutBlanks cuts the blanks before s. ok is false if there are none, or if before is false.
func cutBlanks(s []byte, before bool) (rest []byte, ok bool) {
	rest = bytes.TrimLeft(s, " \t")
	return rest, before && len(rest) < len(s)
}

// skipQuoted returns the offset behind the quoted string that begins at from; -1: it does not end in text.
func skipQuoted(text []byte, from int) int {
	for i := from + 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}
