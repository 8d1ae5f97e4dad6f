package parser

// MaxNesting is how deep brackets may nest in a text that is parsed.
const MaxNesting = 256

// nesting returns the deepest nesting of brackets and CASE in text, leaving out what
// stands in single quotes. It only saves the worker from hopeless texts: a text that
// fools it costs one worker and is refused then.
func nesting(text []byte) int {
	depth, deepest, quoted := 0, 0, false
	for i, c := range text {
		switch {
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(' || c == '[':
			depth++
		case c == ')' || c == ']':
			depth = max(depth-1, 0)
		case (c|0x20) == 'c' && wordAt(text, i, "case"):
			depth++
		case (c|0x20) == 'e' && wordAt(text, i, "end"):
			depth = max(depth-1, 0)
		}
		deepest = max(deepest, depth)
	}
	return deepest
}

// wordAt reports whether the word stands alone at text[i:], in any case.
func wordAt(text []byte, i int, word string) bool {
	if len(text)-i < len(word) || (i > 0 && isWord(text[i-1])) || (len(text)-i > len(word) && isWord(text[i+len(word)])) {
		return false
	}
	for j := range len(word) {
		if text[i+j]|0x20 != word[j] {
			return false
		}
	}
	return true
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || c >= '0' && c <= '9' || (c|0x20) >= 'a' && (c|0x20) <= 'z'
}
