'use strict'
const assert = require('assert')
const fs = require('fs')
const { Client, Pool } = require('pg')

const masked = 'MASKED' in process.env
const ssl = { ca: fs.readFileSync(process.env.PGSSLROOTCERT, 'utf8'), rejectUnauthorized: true }

async function main () {
  const client = new Client({ ssl })
  await client.connect()
  let r = await client.query('select id, name, email from customers where id = $1', [1])
  console.log(r.rows[0])
  assert.strictEqual(r.rows[0].name, 'Ada')
  assert.strictEqual(r.rows[0].email !== 'canary-ada@example.com', masked)
  for (let i = 1; i < 5; i++) {
    r = await client.query({ name: 'note', text: 'select note, tags, detail, at from orders where id = $1', values: [i] })
    assert.deepStrictEqual([r.rows[0].note, r.rows[0].tags[1], r.rows[0].detail.n], ['note ' + i, 'b' + i, i])
  }
  r = await client.query({ text: 'select id from orders', rowMode: 'array' })
  assert.strictEqual(r.rowCount, 20)
  await client.query('BEGIN')
  r = await client.query('insert into plain (note, data) values ($1, $2) returning id', ['node', Buffer.from([0, 1, 2])])
  await client.query('ROLLBACK')
  await assert.rejects(client.query('select 1/0'), { code: '22012' })
  await client.end()

  const pool = new Pool({ ssl, max: 4 })
  const answers = await Promise.all([...Array(20).keys()].map(i => pool.query('select total from orders where id = $1', [i + 1])))
  answers.forEach((a, i) => assert.strictEqual(Number(a.rows[0].total), (i + 1) * 1.5))
  await pool.end()
  console.log('done')
}

main().catch(e => { console.error(e); process.exit(1) })
