// Bundles pages for a browser: each argument is a JavaScript file, whose bundle is written beside it
// as `NAME.bundle.js`. Components of Vue are compiled by Vue's own compiler.
import { build } from 'esbuild'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { compileScript, parse } from 'vue/compiler-sfc'

const modules = join(dirname(fileURLToPath(import.meta.url)), 'node_modules')

const components = {
  name: 'components',
  setup(bundler) {
    bundler.onLoad({ filter: /\.vue$/ }, async ({ path }) => {
      const { descriptor, errors } = parse(await readFile(path, 'utf8'), { filename: path })
      if (errors.length) throw errors[0]
      return { contents: compileScript(descriptor, { id: path, inlineTemplate: true }).content }
    })
  },
}

for (const page of process.argv.slice(2)) {
  await build({
    entryPoints: [page],
    outfile: page.replace(/\.\w+$/, '.bundle.js'),
    bundle: true,
    format: 'esm',
    jsx: 'automatic',
    nodePaths: [modules],
    plugins: [components],
    define: {
      'process.env.NODE_ENV': '"production"',
      __VUE_OPTIONS_API__: 'false',
      __VUE_PROD_DEVTOOLS__: 'false',
      __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: 'false',
    },
    logLevel: 'warning',
  })
}
