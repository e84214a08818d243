// Light or dark: as the system has it, until somebody chooses.
const theme = document.documentElement.dataset;
const remembered = () => {
  try {
    return localStorage.getItem('faultline-theme');
  } catch {
    return null;
  }
};
if (remembered()) theme.theme = remembered();
document.getElementById('theme').addEventListener('click', () => {
  const dark = theme.theme ? theme.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  theme.theme = dark ? 'light' : 'dark';
  try {
    localStorage.setItem('faultline-theme', theme.theme);
  } catch {
    /* it is not remembered: a page from a file may not keep anything */
  }
});
