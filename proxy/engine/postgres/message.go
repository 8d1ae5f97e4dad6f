package postgres

import "encoding/binary"

// The types of messages. The protocol uses one letter for different messages in the two
// directions.
const (
	msgBind      = 'B'
	msgClose     = 'C'
	msgDescribe  = 'D'
	msgExecute   = 'E'
	msgFunction  = 'F'
	msgFlush     = 'H'
	msgParse     = 'P'
	msgPassword  = 'p'
	msgQuery     = 'Q'
	msgSync      = 'S'
	msgTerminate = 'X'

	msgCopyData = 'd'
	msgCopyDone = 'c'
	msgCopyFail = 'f'

	msgAuthentication       = 'R'
	msgBackendKeyData       = 'K'
	msgBindComplete         = '2'
	msgCloseComplete        = '3'
	msgCommandComplete      = 'C'
	msgCopyInResponse       = 'G'
	msgCopyOutResponse      = 'H'
	msgDataRow              = 'D'
	msgEmptyQuery           = 'I'
	msgErrorResponse        = 'E'
	msgFunctionResponse     = 'V'
	msgNegotiateVersion     = 'v'
	msgNoData               = 'n'
	msgNotice               = 'N'
	msgNotification         = 'A'
	msgParameterDescription = 't'
	msgParameterStatus      = 'S'
	msgParseComplete        = '1'
	msgPortalSuspended      = 's'
	msgReadyForQuery        = 'Z'
	msgRowDescription       = 'T'
)

// Codes of an Authentication message.
const (
	authOK           = 0
	authCleartext    = 3
	authMD5          = 5
	authSASL         = 10
	authSASLContinue = 11
	authSASLFinal    = 12
)

// beginMessage appends the head of a message whose length endMessage fills in.
func beginMessage(dst []byte, kind byte) []byte { return append(dst, kind, 0, 0, 0, 0) }

// endMessage fills in the length of the message that begins at from.
func endMessage(m []byte, from int) []byte {
	binary.BigEndian.PutUint32(m[from+1:], uint32(len(m)-from-1))
	return m
}

func appendString(dst []byte, s string) []byte { return append(append(dst, s...), 0) }

// appendMessage appends a whole message.
func appendMessage(dst []byte, kind byte, body []byte) []byte {
	dst = append(dst, kind)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(body)+4))
	return append(dst, body...)
}

// authentication returns an Authentication message.
func authentication(code uint32, data []byte) []byte {
	m := binary.BigEndian.AppendUint32(beginMessage(nil, msgAuthentication), code)
	return endMessage(append(m, data...), 0)
}

// appendParameterStatus appends a ParameterStatus message.
func appendParameterStatus(dst []byte, name, value string) []byte {
	at := len(dst)
	dst = beginMessage(dst, msgParameterStatus)
	return endMessage(appendString(appendString(dst, name), value), at)
}

// appendReady appends a ReadyForQuery message.
func appendReady(dst []byte, status byte) []byte {
	return append(dst, msgReadyForQuery, 0, 0, 0, 5, status)
}
