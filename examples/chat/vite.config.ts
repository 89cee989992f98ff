import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vite'

export default defineConfig({
  plugins: [vue()],
  build: {
    // The page's Content-Security-Policy allows no data: URL, so nothing is inlined.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  // `npm run dev` serves the page with hot reload; the answers come from the Python side.
  server: { proxy: { '/api': 'http://127.0.0.1:8000' } },
})
