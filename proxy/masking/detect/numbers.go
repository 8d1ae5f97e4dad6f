package detect

const (
	minCard = 13
	maxCard = 19
	// Groups of a card's number where it is written in groups.
	firstGroup = 4
	minGroup   = 3
	maxGroup   = 6
)

// cardNumber returns the end of a card's number that begins at i, 0 if there is none: 13
// to 19 digits whose last is the check digit (ISO/IEC 7812), alone or in groups that are
// set apart by a blank or a dash each.
func cardNumber(b []byte, i int) int {
	if !beginsCard(b, i) {
		return 0
	}
	var digits [maxCard]byte
	n, group, end := 0, 0, 0
	var separator byte
	for at := i; ; at++ {
		if at < len(b) && isDigit(b[at]) {
			if n == maxCard {
				return end
			}
			digits[n] = b[at] - '0'
			n, group = n+1, group+1
			continue
		}
		// A group ends here.
		if separator != 0 && (group < minGroup || group > maxGroup) {
			return end
		}
		next := before(b, at)
		if n >= minCard && next != '.' && luhn(digits[:n]) {
			end = at
		}
		if next != ' ' && next != '-' || separator == 0 && group != firstGroup || separator != 0 && separator != b[at] {
			return end
		}
		separator, group = b[at], 0
	}
}

// beginsCard reports whether an issuer's number may begin at i: no decimal fraction does.
func beginsCard(b []byte, i int) bool {
	return b[i] >= '2' && b[i] <= '6' && (i < 2 || b[i-1] != '.' || !isDigit(b[i-2]))
}

// before returns the byte at a position if a digit follows it, 0 otherwise.
func before(b []byte, at int) byte {
	if at+1 < len(b) && isDigit(b[at+1]) {
		return b[at]
	}
	return 0
}

// luhn checks the check digit.
func luhn(digits []byte) bool {
	sum := 0
	for i, d := range digits {
		v := int(d)
		if (len(digits)-i)%2 == 0 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return sum%10 == 0
}

const ssnSize = len("123-45-6789")

// socialSecurity returns the end of a social security number that begins at i, 0 if there
// is none: 3, 2 and 4 digits between dashes, of areas, groups and serials that are given
// out.
func socialSecurity(b []byte, i int) int {
	end := i + ssnSize
	if end > len(b) || end < len(b) && isDigit(b[end]) {
		return 0
	}
	s := b[i:end]
	for at, c := range s {
		if dash := at == 3 || at == 6; dash != (c == '-') || !dash && !isDigit(c) {
			return 0
		}
	}
	area, group, serial := string(s[:3]), string(s[4:6]), string(s[7:])
	if area == "000" || area == "666" || area[0] == '9' || group == "00" || serial == "0000" {
		return 0
	}
	return end
}

// ibanLengths are the lengths of account numbers by country (SWIFT, IBAN Registry).
var ibanLengths = map[[2]byte]int{
	{'A', 'D'}: 24, {'A', 'E'}: 23, {'A', 'L'}: 28, {'A', 'T'}: 20, {'A', 'Z'}: 28, {'B', 'A'}: 20, {'B', 'E'}: 16, {'B', 'G'}: 22,
	{'B', 'H'}: 22, {'B', 'I'}: 27, {'B', 'R'}: 29, {'B', 'Y'}: 28, {'C', 'H'}: 21, {'C', 'R'}: 22, {'C', 'Y'}: 28, {'C', 'Z'}: 24,
	{'D', 'E'}: 22, {'D', 'J'}: 27, {'D', 'K'}: 18, {'D', 'O'}: 28, {'E', 'E'}: 20, {'E', 'G'}: 29, {'E', 'S'}: 24, {'F', 'I'}: 18,
	{'F', 'K'}: 18, {'F', 'O'}: 18, {'F', 'R'}: 27, {'G', 'B'}: 22, {'G', 'E'}: 22, {'G', 'I'}: 23, {'G', 'L'}: 18, {'G', 'R'}: 27,
	{'G', 'T'}: 28, {'H', 'R'}: 21, {'H', 'U'}: 28, {'I', 'E'}: 22, {'I', 'L'}: 23, {'I', 'Q'}: 23, {'I', 'S'}: 26, {'I', 'T'}: 27,
	{'J', 'O'}: 30, {'K', 'W'}: 30, {'K', 'Z'}: 20, {'L', 'B'}: 28, {'L', 'C'}: 32, {'L', 'I'}: 21, {'L', 'T'}: 20, {'L', 'U'}: 20,
	{'L', 'V'}: 21, {'L', 'Y'}: 25, {'M', 'C'}: 27, {'M', 'D'}: 24, {'M', 'E'}: 22, {'M', 'K'}: 19, {'M', 'N'}: 20, {'M', 'R'}: 27,
	{'M', 'T'}: 31, {'M', 'U'}: 30, {'N', 'I'}: 28, {'N', 'L'}: 18, {'N', 'O'}: 15, {'O', 'M'}: 23, {'P', 'K'}: 24, {'P', 'L'}: 28,
	{'P', 'S'}: 29, {'P', 'T'}: 25, {'Q', 'A'}: 29, {'R', 'O'}: 24, {'R', 'S'}: 22, {'R', 'U'}: 33, {'S', 'A'}: 24, {'S', 'C'}: 31,
	{'S', 'D'}: 18, {'S', 'E'}: 24, {'S', 'I'}: 19, {'S', 'K'}: 24, {'S', 'M'}: 27, {'S', 'O'}: 23, {'S', 'T'}: 25, {'S', 'V'}: 28,
	{'T', 'L'}: 23, {'T', 'N'}: 24, {'T', 'R'}: 26, {'U', 'A'}: 29, {'V', 'A'}: 22, {'V', 'G'}: 24, {'X', 'K'}: 20, {'Y', 'E'}: 30,
}

const (
	ibanHead  = 4 // country and check digits
	ibanGroup = 4 // where it is written in groups
	ibanMod   = 97
)

// accountNumber returns the end of an IBAN that begins at i, 0 if there is none
// (ISO 13616). Letter case is ignored, and blanks may stand between groups of four.
func accountNumber(b []byte, i int) int {
	if i+ibanHead >= len(b) || !isLetter(b[i+1]) || !isDigit(b[i+2]) || !isDigit(b[i+3]) {
		return 0
	}
	length := ibanLengths[[2]byte{b[i] &^ 0x20, b[i+1] &^ 0x20}]
	if length == 0 {
		return 0
	}
	grouped := b[i+ibanHead] == ' '
	at, sum := i+ibanHead, 0
	for n := ibanHead; n < length; n++ {
		if grouped && n%ibanGroup == 0 {
			if at >= len(b) || b[at] != ' ' {
				return 0
			}
			at++
		}
		if at >= len(b) || !isDigit(b[at]) && !isLetter(b[at]) {
			return 0
		}
		sum = checked(sum, b[at])
		at++
	}
	if at < len(b) && (isDigit(b[at]) || isLetter(b[at])) {
		return 0
	}
	for _, c := range b[i : i+ibanHead] {
		sum = checked(sum, c)
	}
	if sum != 1 {
		return 0
	}
	return at
}

func checked(sum int, c byte) int {
	if isDigit(c) {
		return (sum*10 + int(c-'0')) % ibanMod
	}
	return (sum*100 + int(c&^0x20-'A') + 10) % ibanMod
}
