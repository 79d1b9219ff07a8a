import torch


class Saver:
    def save(self, folder):
        try:
            self.save_optimizer(folder)  # expect: REP403
        except OSError as error:
            print(f"no optimizer in {folder}: {error}")

    def save_optimizer(self, folder):
        torch.save(self.optimizer.state_dict(), f"{folder}/optimizer.pt")
